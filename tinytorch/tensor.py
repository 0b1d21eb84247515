"""The Tensor: an array of the Array API standard, on any backend, that remembers how it was computed."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import AccumulateGrad, Node, leaf_gradients
from tinytorch.backend import Backend, BackendMismatchError, DType, get_backend
from tinytorch.backend.device import Device
from tinytorch.backend.errors import refuse_foreign_array
from tinytorch.backend.host import is_host_scalar
from tinytorch.backend.selection import current_backend

if TYPE_CHECKING:
    from numpy import ndarray

N = TypeVar("N")

#: A method for a binary operator.
Operator: TypeAlias = Callable[["Tensor", Any], "Tensor"]


def _binary(symbol: str, name: str) -> Operator:
    """The method for ``x + y``: the function of the standard called ``name``, from the Tensor's namespace."""

    def forward(self: Tensor, other: Any) -> Tensor:
        # the most frequent type is tested here: a call of _is_operand would be a tenth of the time of a small addition
        if type(other) is Tensor or _is_operand(symbol, self, other):
            return getattr(self.backend.namespace, name)(self, other)
        return NotImplemented

    return forward


def _arithmetic(symbol: str, apply: Callable[[Any, Any], Any], name: str) -> tuple[Operator, Operator, Operator]:
    """The methods for ``x + y``, ``y + x`` and ``x += y``."""

    def reflected(self: Tensor, other: Any) -> Tensor:
        return getattr(self.backend.namespace, name)(other, self) if _is_operand(symbol, self, other) else NotImplemented

    def in_place(self: Tensor, other: Any) -> Tensor:
        return _rebind(self, apply(self, other), f"{symbol}=")

    return _binary(symbol, name), reflected, in_place


def _unary(name: str) -> Callable[[Tensor], Tensor]:
    def apply(self: Tensor) -> Tensor:
        return getattr(self.backend.namespace, name)(self)

    return apply


def _conversion(kind: Callable[[Any], N]) -> Callable[[Tensor], N]:
    def convert(self: Tensor) -> N:
        if self.shape != ():
            name = kind.__name__
            raise TypeError(f"{name}() needs a 0-d Tensor, this one has shape {self.shape}; use tinytorch.all, any or an index")
        return kind(self.item())

    return convert


class Tensor:
    """An n-dimensional array on some backend.

    Its operators and functions are those of the Array API standard (2024.12); ``x.__array_namespace__()`` is the namespace of its own
    backend and device, and every function there is differentiable where a derivative exists.

    Args:
        data: numbers, nested lists of numbers, a numpy array or a Tensor; copied.
        dtype: a data type such as ``tinytorch.float32``, or its name. Python floats become float32, a numpy array keeps its type.
        device: a backend's name (``"cupy:0"``), a `Device`, or ``None`` for the chosen backend.
        requires_grad: whether `backward` shall leave the derivative with respect to this Tensor in ``.grad``.

    Attributes:
        raw: the backend's own array. Do not write into it: others may hold the same array.
        backend: the backend it lives on.
        node: its node in the graph, ``None`` where nothing is recorded.
    """

    __slots__ = ("__weakref__", "_grad", "backend", "node", "raw")

    raw: Any
    backend: Backend
    node: Node | None
    _grad: Tensor | None

    def __init__(self, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            if data.node is not None:
                raise RuntimeError("this Tensor carries a gradient, which a copy would drop; use x.detach(), or tinytorch.asarray(x)")
            device = data.device if device is None else device
        backend = current_backend() if device is None else get_backend(device)
        source = backend.namespace.asarray(data, dtype=dtype, device=backend, copy=True)
        self.raw, self.backend, self.node, self._grad = source.raw, backend, None, None
        if requires_grad:
            self.requires_grad = True

    # ---- operators ----

    # numpy hands `ndarray * Tensor` over to __rmul__ below instead of looping over the elements
    __array_ufunc__ = None

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

    __eq__ = _binary("==", "equal")  # type: ignore[assignment]  # the standard's == compares element by element
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
        return self.backend.namespace.getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _rebind(self, self.backend.namespace.setitem(self, key, value), "x[...] =")

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a 0-d Tensor cannot be iterated over; use .item() for its number")
        return (self[i, ...] for i in range(self.shape[0]))

    # ---- what it is ----

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return tuple(self.raw.shape)  # PyTorch has a kind of tuple of its own

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.raw.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.raw.shape)

    @property
    def dtype(self) -> DType:
        """Data type, one of ``tinytorch.float32`` and so on."""
        return self.backend.dtype_of(self.raw)

    @property
    def device(self) -> Device:
        """Backend and device; pass it to a creation function to land beside this Tensor."""
        return Device(self.backend)

    @property
    def T(self) -> Tensor:
        """Transpose of a matrix."""
        if self.ndim != 2:
            raise ValueError(f".T needs a matrix, got shape {self.shape}; use .mT or permute_dims")
        return self.mT

    @property
    def mT(self) -> Tensor:
        """Transpose of the last two dimensions."""
        return self.backend.namespace.matrix_transpose(self)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The differentiable namespace bound to this Tensor's backend and device."""
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ValueError(f"tinytorch implements the Array API standard up to 2024.12, not {api_version}")
        return self.backend.namespace

    def __repr__(self) -> str:
        values = repr(self.backend.to_host(self.raw)).removeprefix("array(").removesuffix(")")
        values = re.sub(r",\s+(shape=\([\d, ]*\),\s+)?dtype=\w+$", "", values).replace("\n      ", "\n       ")
        grad = ", requires_grad=True" if self.node is not None else ""
        return f"Tensor({values}, dtype={self.dtype.name}, device={self.backend.spec!r}{grad})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a 0-d Tensor has no len()")
        return self.shape[0]

    # ---- taking values out ----

    def numpy(self) -> ndarray:
        """A copy of the values as a numpy array; raises ``RuntimeError`` where a gradient would be lost."""
        self._refuse_gradient("numpy", ".detach().numpy()")
        return self.backend.to_host(self.raw).copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        """Lets numpy read a Tensor that lives on the host and carries no gradient; raises otherwise."""
        self._refuse_gradient("numpy", ".detach().numpy()")
        if not self.backend.capabilities.host:
            raise TypeError(f"this Tensor lives on {self.backend.spec} and nothing leaves a device by itself; use .detach().numpy()")
        array = self.backend.to_host(self.raw)
        if copy is False and dtype is not None and array.dtype != dtype:
            raise ValueError(f"converting {array.dtype} to {dtype} needs a copy, and copy=False forbids one")
        return array.copy().astype(dtype or array.dtype, copy=False) if copy or dtype is not None else array

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None) -> Any:
        """Lets another library import the values, which then share this memory: do not write there. Raises for one with a gradient."""
        self._refuse_gradient("another library", "x.detach()")
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self.backend.xp.asarray(self.raw).__dlpack__(**{name: value for name, value in given.items() if value is not None})

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Kind and number of the device in the DLPack protocol."""
        return self.backend.xp.asarray(self.raw).__dlpack_device__()

    def _refuse_gradient(self, reader: str, instead: str) -> None:
        if self.node is not None:
            raise RuntimeError(f"this Tensor carries a gradient, which {reader} would drop; use {instead}")

    def item(self) -> Any:
        """The number in a Tensor of one element, as a Python number; raises ``ValueError`` for any other size."""
        if self.size != 1:
            raise ValueError(f".item() needs one element, this Tensor has {self.size}")
        return self.backend.to_host(self.raw).item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.backend.to_host(self.raw).tolist()

    __bool__ = _conversion(bool)
    __int__ = _conversion(int)
    __float__ = _conversion(float)
    __complex__ = _conversion(complex)

    def __index__(self) -> int:
        if self.dtype.kind not in ("signed integer", "unsigned integer"):
            raise TypeError(f"only a Tensor of an integer type can be an index, not {self.dtype.name}")
        return int(self)

    # ---- moving and copying ----

    def to(self, device: Any) -> Tensor:
        """The same values on another backend or device (``x.to("cupy")``); the gradient finds its way back."""
        return self.backend.namespace.to_device(self, device)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """The standard's name for `to`."""
        if stream is not None:
            raise ValueError("tinytorch has no streams of its own; leave stream=None")
        return self.to(device)

    def __reduce__(self) -> tuple[Any, ...]:
        """What `copy` and `pickle` take along: values, type, device, and whether a gradient is required; not the gradient itself."""
        if self.node is not None and not isinstance(self.node, AccumulateGrad):
            raise RuntimeError("this Tensor was computed from others, which a copy would forget; copy or pickle x.detach()")
        return _restored, (type(self), self.backend.to_host(self.raw), self.backend.spec, self.requires_grad)

    # ---- differentiation ----

    @property
    def requires_grad(self) -> bool:
        """Whether a derivative with respect to this Tensor, or through it, is being recorded. Can be set where it was not computed."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None and not isinstance(self.node, AccumulateGrad):
            raise RuntimeError("requires_grad cannot be set on a Tensor that was computed from others; use .detach() first")
        if value and not self.dtype.is_floating:
            raise TypeError(f"only floating-point Tensors can require a gradient, this one is {self.dtype.name}")
        self.node = (self.node or AccumulateGrad(self)) if value else None

    @property
    def grad(self) -> Tensor | None:
        """What `backward` has added up: a Tensor of the same shape, type and backend, or ``None``. Set it to ``None`` to begin anew.

        Assigning anything else raises ``TypeError``, ``ValueError`` for another shape, ``BackendMismatchError`` for another backend.
        """
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            self._check_gradient("grad", value)
        self._grad = value

    def _check_gradient(self, name: str, value: object) -> None:
        """Raise for what cannot be a gradient of this Tensor."""
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a Tensor or None, got {type(value).__name__}; make one with tinytorch.asarray")
        check_same_backend(name, self.backend, value)
        if value.shape != self.shape:
            raise ValueError(f"{name} must have the Tensor's shape {self.shape}, got {value.shape}")
        if value.dtype is not self.dtype:
            raise TypeError(f"{name} must have the Tensor's type {self.dtype.name}, got {value.dtype.name}; use tinytorch.astype")

    def detach(self) -> Tensor:
        """The same values with no memory of how they were computed."""
        return wrap(self.raw, self.backend)

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
        """Add the derivative of this Tensor to ``.grad`` of every Tensor that requires one and that it was computed from.

        Args:
            gradient: what to multiply the derivative with, of this Tensor's shape and type; may be left out where that is one number.
            retain_graph: keep what was saved, for a second `backward`; otherwise it is freed on the way.

        Raises:
            RuntimeError: nothing here requires a gradient, or this is not a single real number and no ``gradient`` was given.
            ValueError, TypeError: ``gradient`` has another shape, or another type.
        """
        if self.node is None:
            raise RuntimeError("nothing that this Tensor was computed from requires a gradient; create its inputs with requires_grad=True")
        if gradient is None:
            if self.size != 1:
                raise RuntimeError(
                    f"backward() starts from one number, and this Tensor has shape {self.shape}; reduce it, or pass gradient="
                )
            if self.dtype.kind == "complex floating":
                raise RuntimeError("backward() starts from a real number; take tinytorch.real of this one, or pass gradient=")
            gradient = self.backend.namespace.ones_like(self.detach())
        self._check_gradient("gradient", gradient)
        for tensor, g in leaf_gradients(self.node, gradient.raw, retain_graph):
            if tensor is not None:
                tensor._grad = wrap(g if tensor._grad is None else tensor._grad.raw + g, tensor.backend)


def _is_operand(symbol: str, tensor: Tensor, other: object) -> bool:
    """Whether ``other`` can be the second operand; arrays that are not Tensors raise, since nothing crosses by itself."""
    if isinstance(other, _OPERANDS) or is_host_scalar(other):
        return True
    refuse_foreign_array(symbol, other, tensor.backend.spec)
    return False


_OPERANDS = (Tensor, int, float, complex)  # bool is an int


def _rebind(tensor: Tensor, new: Tensor, symbol: str) -> Tensor:
    """Give ``tensor`` the value and the node of ``new``."""
    if new.shape != tensor.shape or new.dtype is not tensor.dtype:
        raise TypeError(
            f"{symbol} would turn {tuple(tensor.shape)} {tensor.dtype.name} into {tuple(new.shape)} {new.dtype.name}; "
            f"in-place operators keep shape and type, so write x = x ... instead"
        )
    if isinstance(tensor.node, AccumulateGrad):
        if is_grad_enabled():
            raise RuntimeError(
                f"{symbol} on a Tensor that requires a gradient would lose the place where the gradient belongs; "
                f"update it inside `with tinytorch.no_grad():`, or write x = x ... instead"
            )
        new.node = tensor.node  # an update by hand: the new value is where the next gradient ends
    tensor.raw, tensor.node = new.raw, new.node
    return tensor


def _restored(kind: type[Tensor], array: ndarray, spec: str, requires_grad: bool) -> Tensor:
    """The other half of `Tensor.__reduce__`."""
    backend = get_backend(spec)
    tensor = kind.__new__(kind)
    tensor.raw, tensor.backend, tensor.node, tensor._grad = backend.from_host(array), backend, None, None
    tensor.requires_grad = requires_grad
    return tensor


def wrap(raw: Any, backend: Backend, node: Node | None = None) -> Tensor:
    """A Tensor around a backend's own array, which is not copied."""
    tensor: Tensor = _blank(Tensor)
    tensor.raw = raw
    tensor.backend = backend
    tensor.node = node
    tensor._grad = None
    return tensor


_blank: Any = object.__new__  # found once, as every operation makes a Tensor


def check_same_backend(operation: str, backend: Backend, other: Tensor) -> None:
    """Raise `BackendMismatchError` naming the operation, both sides and the mend, unless ``other`` lives on ``backend``."""
    if other.backend is not backend:
        raise BackendMismatchError(
            f"{operation}: one operand is on {backend.spec} and another on {other.backend.spec}; "
            f"move one of them, as in x.to({backend.spec!r})"
        )
