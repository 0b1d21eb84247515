"""The Tensor: an array of the Array API standard, on any backend, that remembers how it was computed."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from tinytorch.autograd.graph import Node, Owner, backpropagate, reachable
from tinytorch.backend import Backend, BackendMismatchError, DType, get_backend
from tinytorch.backend.device import Device
from tinytorch.backend.selection import current_backend
from tinytorch.operators import Operators

if TYPE_CHECKING:
    from numpy import ndarray


class Tensor(Operators):
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
        node: its place on the tape, ``None`` where nothing is recorded.
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
            raise TypeError("a Tensor of no dimensions has no length")
        return self.shape[0]

    # ---- taking values out ----

    def numpy(self) -> ndarray:
        """A copy of the values as a numpy array; raises ``RuntimeError`` where a gradient would be lost."""
        if self.node is not None:
            raise RuntimeError("this Tensor carries a gradient, which numpy would drop; use .detach().numpy()")
        return self.backend.to_host(self.raw).copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        """Lets numpy read a Tensor that lives on the host and carries no gradient; raises otherwise."""
        if self.node is not None:
            raise RuntimeError("this Tensor carries a gradient, which numpy would drop; use .detach().numpy()")
        if not self.backend.capabilities.host:
            raise TypeError(f"this Tensor lives on {self.backend.spec} and nothing leaves a device by itself; use .detach().numpy()")
        array = self.backend.to_host(self.raw)
        if copy is False and dtype is not None and array.dtype != dtype:
            raise ValueError(f"converting {array.dtype} to {dtype} needs a copy, and copy=False forbids one")
        return array.copy().astype(dtype or array.dtype, copy=False) if copy or dtype is not None else array

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None) -> Any:
        """Lets another library import the values, which then share this memory: do not write there. Raises for one with a gradient."""
        if self.node is not None:
            raise RuntimeError("this Tensor carries a gradient, which another library would drop; use x.detach()")
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self.backend.xp.asarray(self.raw).__dlpack__(**{name: value for name, value in given.items() if value is not None})

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Kind and number of the device in the DLPack protocol."""
        return self.backend.xp.asarray(self.raw).__dlpack_device__()

    def item(self) -> Any:
        """The number in a Tensor of one element, as a Python number; raises ``ValueError`` for any other size."""
        if self.size != 1:
            raise ValueError(f".item() needs one element, this Tensor has {self.size}")
        return self.backend.to_host(self.raw).item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.backend.to_host(self.raw).tolist()

    def __bool__(self) -> bool:
        return bool(self._scalar("bool"))

    def __int__(self) -> int:
        return int(self._scalar("int"))

    def __float__(self) -> float:
        return float(self._scalar("float"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex"))

    def __index__(self) -> int:
        value = self._scalar("index")
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"only a Tensor of an integer type can be an index, not {self.dtype.name}")
        return value

    def _scalar(self, what: str) -> Any:
        if self.shape != ():
            raise TypeError(
                f"{what}() needs a Tensor of no dimensions, this one has shape {self.shape}; use tinytorch.all, any or an index"
            )
        return self.item()

    # ---- moving ----

    def to(self, device: Any) -> Tensor:
        """The same values on another backend or device (``x.to("cupy")``); the gradient finds its way back."""
        return self.backend.namespace.to_device(self, device)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """The standard's name for `to`."""
        if stream is not None:
            raise ValueError("tinytorch has no streams of its own; leave stream=None")
        return self.to(device)

    # ---- copying ----

    def __reduce__(self) -> tuple[Any, ...]:
        """What `copy` and `pickle` take along: values, type, device, and whether a gradient is required; not the gradient itself."""
        if self.node is not None and not isinstance(self.node, Owner):
            raise RuntimeError("this Tensor was computed from others, which a copy would forget; copy or pickle x.detach()")
        return _restored, (type(self), self.backend.to_host(self.raw), self.backend.spec, self.requires_grad)

    # ---- differentiation ----

    @property
    def requires_grad(self) -> bool:
        """Whether a derivative with respect to this Tensor, or through it, is being recorded. Can be set where it was not computed."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None and not isinstance(self.node, Owner):
            raise RuntimeError(
                "this Tensor was computed from others, so it cannot be told to require a gradient or not; use .detach() first"
            )
        if value and not self.dtype.is_floating:
            raise TypeError(f"only floating-point Tensors can require a gradient, this one is {self.dtype.name}")
        self.node = (self.node or Owner(self)) if value else None

    @property
    def grad(self) -> Tensor | None:
        """What `backward` has added up: a Tensor of the same shape, type and backend, or ``None``. Set it to ``None`` to begin anew.

        Assigning anything else raises ``TypeError``, ``ValueError`` for another shape, ``BackendMismatchError`` for another backend.
        """
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad must be a Tensor or None, got {type(value).__name__}; make one with tinytorch.asarray")
            check_same_backend("grad", self.backend, value)
            if value.shape != self.shape:
                raise ValueError(f"grad must have the Tensor's shape {self.shape}, got {value.shape}")
            if value.dtype is not self.dtype:
                raise TypeError(f"grad must have the Tensor's type {self.dtype.name}, got {value.dtype.name}; use tinytorch.astype")
        self._grad = value

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
        check_same_backend("backward", self.backend, gradient)
        if gradient.shape != self.shape:
            raise ValueError(f"gradient has shape {gradient.shape}, expected {self.shape}")
        if gradient.dtype is not self.dtype:
            raise TypeError(f"gradient is {gradient.dtype.name}, expected {self.dtype.name}; convert it with tinytorch.astype")
        order = reachable(self.node)
        owners = [node for node in order if isinstance(node, Owner)]
        found = backpropagate(order, {self.node: gradient.raw}, set(owners), recorded=False, release=not retain_graph)
        for owner in owners:
            tensor = owner.tensor()
            if tensor is not None and owner in found:
                total = found[owner] if tensor._grad is None else tensor._grad.raw + found[owner]
                tensor._grad = wrap(total, tensor.backend)


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
