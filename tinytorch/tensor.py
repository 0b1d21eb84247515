"""Tensor: an array of the Array API standard on any backend, with a node of the computation graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from types import EllipsisType, NoneType
from typing import Any, Self, TypeAlias

from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import AccumulateGrad, Node, leaf_gradients
from tinytorch.backend import Backend, BackendMismatchError, get_backend
from tinytorch.backend.errors import reject_operand
from tinytorch.backend.host import is_host_operand, is_host_scalar
from tinytorch.backend.selection import current_backend
from tinytorch.tensor_methods import Conversions, Shapes, Types, Updates

#: The method of a binary operator.
Operator: TypeAlias = Callable[["Tensor", Any], "Tensor"]


def _binary(symbol: str, name: str) -> Operator:
    """The method for ``x + y``: calls the function ``name`` of the namespace of the Tensor."""

    def forward(self: Tensor, other: Any) -> Tensor:
        # the most frequent type is checked here, since calling _is_operand would make a small addition 10% slower
        if type(other) is Tensor or _is_operand(symbol, self, other):
            return getattr(self.backend.namespace, name)(self, other)
        return NotImplemented

    return forward


def _arithmetic(symbol: str, apply: Callable[[Any, Any], Any], name: str) -> tuple[Operator, Operator, Operator]:
    """The methods for ``x + y``, ``y + x`` and ``x += y``."""

    def reflected(self: Tensor, other: Any) -> Tensor:
        return getattr(self.backend.namespace, name)(other, self) if _is_operand(symbol, self, other) else NotImplemented

    def in_place(self: Tensor, other: Any) -> Tensor:
        return self._rebind(apply(self, other), f"{symbol}=")

    return _binary(symbol, name), reflected, in_place


def _unary(name: str) -> Callable[[Tensor], Tensor]:
    def apply(self: Tensor) -> Tensor:
        return getattr(self.backend.namespace, name)(self)

    return apply


#: The parts of a key that make x[key] a view in PyTorch.
_BASIC = frozenset({int, slice, NoneType, EllipsisType})


class Tensor(Conversions, Types, Shapes, Updates):
    """An n-dimensional array on a backend, with automatic differentiation.

    Operators and functions follow the Array API standard (2024.12). ``x.__array_namespace__()`` is the namespace of its backend and device.

    Args:
        data: numbers, nested lists of numbers, a NumPy array or a Tensor; copied.
        dtype: a dtype such as ``tinytorch.float32``, or its name. Python floats become float32; a NumPy array keeps its dtype.
        device: the name of a backend (``"cupy:0"``), a `Device`, or ``None`` for the current backend.
        requires_grad: whether operations on this Tensor are recorded, so that `backward` adds the gradient with respect to it to ``.grad``.

    Attributes:
        raw: the array of the library, such as a NumPy array. Do not write into it, since other Tensors may share it.
        backend: the backend of ``raw``.
        node: its node in the computation graph, ``None`` if it does not require a gradient.

    Example:
        >>> tt.Tensor([1.0, 2.0], requires_grad=True)
        Tensor([1., 2.], dtype=float32, device='numpy:cpu', requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            if data.node is not None:
                raise RuntimeError("Tensor(x) would lose the gradient of x; use x.detach(), or tinytorch.asarray(x) to keep it")
            device = data.device if device is None else device
        backend = current_backend() if device is None else get_backend(device)
        source = backend.namespace.asarray(data, dtype=dtype, device=backend, copy=True)
        self.raw, self.backend, self.node, self._grad = source.raw, backend, None, None
        if requires_grad:
            self.requires_grad = True

    # ---- operators ----

    __add__, __radd__, __iadd__ = _arithmetic("+", operator.add, "add")
    __sub__, __rsub__, __isub__ = _arithmetic("-", operator.sub, "subtract")
    __mul__, __rmul__, __imul__ = _arithmetic("*", operator.mul, "multiply")
    __truediv__, __rtruediv__, __itruediv__ = _arithmetic("/", operator.truediv, "divide")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _arithmetic("//", operator.floordiv, "floor_divide")
    __mod__, __rmod__, __imod__ = _arithmetic("%", operator.mod, "remainder")
    __pow__, __rpow__, __ipow__ = _arithmetic("**", operator.pow, "pow")
    __matmul__, __rmatmul__, __imatmul__ = _arithmetic("@", operator.matmul, "matmul")
    __and__, __rand__, __iand__ = _arithmetic("&", operator.and_, "bitwise_and")
    __or__, __ror__, __ior__ = _arithmetic("|", operator.or_, "bitwise_or")
    __xor__, __rxor__, __ixor__ = _arithmetic("^", operator.xor, "bitwise_xor")
    __lshift__, __rlshift__, __ilshift__ = _arithmetic("<<", operator.lshift, "bitwise_left_shift")
    __rshift__, __rrshift__, __irshift__ = _arithmetic(">>", operator.rshift, "bitwise_right_shift")

    __eq__ = _binary("==", "equal")  # type: ignore[assignment]  # == of the standard is element-wise
    __ne__ = _binary("!=", "not_equal")  # type: ignore[assignment]
    __lt__ = _binary("<", "less")
    __le__ = _binary("<=", "less_equal")
    __gt__ = _binary(">", "greater")
    __ge__ = _binary(">=", "greater_equal")
    __hash__ = object.__hash__  # by identity, since == returns no bool

    __neg__ = _unary("negative")
    __pos__ = _unary("positive")
    __abs__ = _unary("abs")
    __invert__ = _unary("bitwise_invert")

    def __getitem__(self, key: Any) -> Tensor:
        out: Tensor = self.backend.namespace.getitem(self, key)
        if _BASIC.issuperset(map(type, key)) if type(key) is tuple else type(key) in _BASIC:
            out._view = True
        return out

    def __setitem__(self, key: Any, value: Any) -> None:
        self._rebind(self.backend.namespace.setitem(self, key, value), "x[...] =")

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a 0-d Tensor cannot be iterated over; use .item() for its value")
        return (self[i, ...] for i in range(self.shape[0]))

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The differentiable namespace, bound to the backend and device of this Tensor."""
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ValueError(f"`api_version` must be at most 2024.12, got {api_version}")
        return self.backend.namespace

    # ---- differentiation ----

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this Tensor are recorded. Can be set for leaf Tensors: all but the results of recorded operations."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None and not isinstance(self.node, AccumulateGrad):
            raise RuntimeError("requires_grad can only be set on leaf Tensors; use .detach() first")
        if value and not self.dtype.is_floating:
            raise TypeError(f"only floating-point Tensors can require a gradient, got {self.dtype.name}")
        self.node = (self.node or AccumulateGrad(self)) if value else None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad``."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward`, or ``None``. Set it to ``None`` to reset it.

        Raises ``TypeError``, ``ValueError`` or `BackendMismatchError` for a gradient of another dtype, shape or backend.
        """
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            self._check_like("grad", value)
        self._grad = value

    def _check_like(self, name: str, value: object) -> None:
        """Raise if ``value`` is not a Tensor with the shape, dtype and backend of this one."""
        if not isinstance(value, Tensor):
            expected = "a Tensor" if name == "data" else "a Tensor or None"
            raise TypeError(f"{name} must be {expected}, got {type(value).__name__}; create one with tinytorch.asarray")
        check_same_backend(name, self.backend, value)
        if value.shape != self.shape:
            raise ValueError(f"{name} must have shape {self.shape}, got {value.shape}")
        if value.dtype is not self.dtype:
            raise TypeError(f"{name} must have dtype {self.dtype.name}, got {value.dtype.name}; use tinytorch.astype")

    def detach(self) -> Tensor:
        """A Tensor with the same values that requires no gradient, as ``jax.lax.stop_gradient``."""
        return self._as_view(wrap(self.raw, self.backend))

    @property
    def data(self) -> Tensor:
        """The values without the graph, to read or to update a parameter: ``p.data -= lr * p.grad`` changes p."""
        return Data(self)

    @data.setter
    def data(self, value: Tensor) -> None:
        self._check_like("data", value)
        self.raw = value.raw

    def _rebind(self, new: Tensor, symbol: str) -> Self:
        if new.shape != self.shape or new.dtype is not self.dtype:
            raise TypeError(
                f"{symbol} would change {tuple(self.shape)} {self.dtype.name} to {tuple(new.shape)} {new.dtype.name}; "
                f"in-place operators must keep shape and dtype, so write x = x ... instead"
            )
        if isinstance(self.node, AccumulateGrad):
            if is_grad_enabled():
                raise RuntimeError(
                    f"{symbol} cannot modify a leaf Tensor that requires a gradient while gradient recording is enabled; "
                    f"update it inside `with tinytorch.no_grad():`, or write x = x ... instead"
                )
            new.node = self.node  # a manual update: the Tensor stays a leaf
        self.raw, self.node = new.raw, new.node
        return self

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
        """Add the gradient with respect to each leaf Tensor that requires one, and that this Tensor depends on, to its ``.grad``.

        Args:
            gradient: gradient with respect to this Tensor, of its shape and dtype; defaults to 1 for a real Tensor with one element.
            retain_graph: keep the residuals (the values saved for derivative rules) for a second `backward`; otherwise they are freed.

        Raises:
            RuntimeError: this Tensor does not require a gradient, or ``gradient`` is missing and cannot default to 1.
            ValueError, TypeError: ``gradient`` has another shape or dtype.
        """
        if self.node is None:
            raise RuntimeError("this Tensor does not require a gradient; create an input with requires_grad=True")
        if gradient is None:
            if self.size != 1:
                raise RuntimeError(f"backward() expected a Tensor with one element, got shape {self.shape}; reduce it, or pass gradient=")
            if self.dtype.kind == "complex floating":
                raise RuntimeError("backward() expected a real Tensor, got a complex one; use tinytorch.real, or pass gradient=")
            gradient = self.backend.namespace.ones_like(self.detach())
        self._check_like("gradient", gradient)
        for tensor, g in leaf_gradients(self.node, gradient.raw, retain_graph):
            if tensor is not None:
                tensor._grad = wrap(g if tensor._grad is None else tensor._grad.raw + g, tensor.backend)


class Data(Tensor):
    """The values of another Tensor, without its node: ``x.data``. An update in place changes the other Tensor.

    Args:
        source: the other Tensor.
    """

    __slots__ = ("_source",)

    def __init__(self, source: Tensor) -> None:
        self._source = source
        self.backend, self.node, self._grad = source.backend, None, None

    @property
    def raw(self) -> Any:
        """The array of the other Tensor."""
        return self._source.raw

    @raw.setter
    def raw(self, value: Any) -> None:
        self._source.raw = value

    def __reduce__(self) -> tuple[Any, ...]:
        return self.detach().__reduce__()


def _is_operand(symbol: str, tensor: Tensor, other: object) -> bool:
    """Whether ``other`` can be the second operand. Raises for lists, arrays of other libraries, and NumPy arrays beside a device."""
    if isinstance(other, _OPERANDS) or is_host_scalar(other) or (is_host_operand(other) and tensor.backend.capabilities.host):
        return True
    reject_operand(symbol, other, tensor.backend.spec)
    return False


_OPERANDS = (Tensor, int, float, complex)  # bool is an int


def wrap(raw: Any, backend: Backend, node: Node | None = None) -> Tensor:
    """Create a Tensor from a raw array of a backend, without a copy."""
    tensor: Tensor = _blank(Tensor)
    tensor.raw = raw
    tensor.backend = backend
    tensor.node = node
    tensor._grad = None
    return tensor


_blank: Any = object.__new__  # looked up once, for speed


def check_same_backend(operation: str, backend: Backend, other: Tensor) -> None:
    """Raise `BackendMismatchError`, with the operation and both devices, if ``other`` is not on ``backend``."""
    if other.backend is not backend:
        raise BackendMismatchError(
            f"{operation}: one operand is on {backend.spec} and another on {other.backend.spec}; "
            f"move one of them, as in x.to({backend.spec!r})"
        )
