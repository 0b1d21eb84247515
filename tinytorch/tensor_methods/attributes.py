"""The attributes of a Tensor, which the other methods use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn, Self, overload

from tinytorch.backend import Backend, DType
from tinytorch.backend.device import Device
from tinytorch.hints import TENSOR

if TYPE_CHECKING:
    from tinytorch.autograd.graph import Node
    from tinytorch.tensor import Tensor


class Size(int):
    """The number of elements. It can be called, as in PyTorch: ``x.size()`` is the shape, ``x.size(0)`` the length of an axis."""

    shape: tuple[int, ...]

    @overload
    def __call__(self, dim: None = None) -> tuple[int, ...]: ...
    @overload
    def __call__(self, dim: int) -> int: ...
    def __call__(self, dim: int | None = None) -> tuple[int, ...] | int:
        """The shape, or the length of the axis ``dim``."""
        return self.shape if dim is None else self.shape[dim]

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


class _Missing:
    """An attribute that raises and says what to write instead.

    A ``__getattr__`` could also suggest names for misspelled ones, but would make every attribute access slower, and a small addition
    by a fifth. Python itself suggests a name when it prints the ``AttributeError`` of a misspelled attribute.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}; {TENSOR[self.name]}")


class Attributes:
    """Values, shape, dtype and device of a Tensor."""

    __slots__ = ("__weakref__", "_grad", "_view", "backend", "node", "raw")

    raw: Any
    backend: Backend
    node: Node | None
    _grad: Tensor | None
    _view: bool  # unset unless the Tensor is a view in PyTorch, such as the result of x[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(self.raw.shape)  # torch.Size becomes a tuple

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.raw.shape)

    @property
    def size(self) -> Size:
        """Number of elements. ``x.size()`` is the shape and ``x.size(0)`` the length of an axis, as in PyTorch."""
        shape = self.shape
        size = Size(math.prod(shape))
        size.shape = shape
        return size

    @property
    def dtype(self) -> DType:
        """Data type, such as ``tinytorch.float32``."""
        return self.backend.dtype_of(self.raw)

    @property
    def device(self) -> Device:
        """Backend and device; creation functions accept it as ``device=``."""
        return Device(self.backend)

    def dim(self) -> int:
        """Number of axes."""
        return self.ndim

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.raw.shape)

    nelement = numel

    def is_floating_point(self) -> bool:
        """Whether the dtype is a real floating-point dtype."""
        return self.dtype.kind == "real floating"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a 0-d Tensor has no len()")
        return self.shape[0]

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in TENSOR]

    def _rebind(self, new: Tensor, symbol: str) -> Self:
        """Replace the value and node by those of ``new``; `Tensor` defines it."""
        raise NotImplementedError

    def _as_view(self, view: Any) -> Tensor:
        """Mark a new Tensor as one that shares its elements with this Tensor in PyTorch; in-place methods raise for it."""
        if view is not self:
            view._view = True
        return view  # type: ignore[no-any-return]


for _name in TENSOR:
    setattr(Attributes, _name, _Missing(_name))
