"""Arithmetic under PyTorch's names, and its in-place forms, which make a Tensor refer to a new value, as ``x += y`` does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Self

from tinytorch.tensor_methods.attributes import Attributes
from tinytorch.tensor_methods.forwarded import Forwarded

if TYPE_CHECKING:
    from tinytorch.tensor import Tensor

P = ParamSpec("P")


def _in_place(method: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """The in-place form of a method."""
    name = f"{method.__name__}_"

    @wraps(method)
    def update(self: Any, *args: Any, **settings: Any) -> Any:
        return self._update(method(self, *args, **settings), f"{name}()")

    update.__name__ = update.__qualname__ = name
    update.__doc__ = f"`{method.__name__}` in place: x refers to the result."
    return update  # type: ignore[return-value]


class Updates(Forwarded):
    """Arithmetic and in-place methods. A method with a trailing underscore changes the Tensor and returns it."""

    __slots__ = ()

    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """``x + alpha * other``."""
        return self.backend.namespace.add(self, other if _is_one(alpha) else other * alpha)  # type: ignore[no-any-return]

    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """``x - alpha * other``."""
        return self.backend.namespace.subtract(self, other if _is_one(alpha) else other * alpha)  # type: ignore[no-any-return]

    def relu(self) -> Tensor:
        """x where it is positive, 0 elsewhere. The derivative at 0 is 0."""
        xp = self.backend.namespace
        return xp.where(xp.less_equal(self, 0), xp.zeros_like(self), self)  # type: ignore[no-any-return]  # NaN stays NaN

    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """x with ``value`` where ``mask`` is true."""
        kind = self.dtype.kind
        fits = kind == "complex floating" if isinstance(value, complex) else kind.endswith("floating") or not isinstance(value, float)
        filled: Tensor | None = self.backend.namespace.where(mask, value, self) if fits else None
        if filled is None or filled.dtype is not self.dtype:
            raise TypeError(f"masked_fill: {value!r} does not fit into {self.dtype.name}; convert x or the value with astype first")
        return filled

    def dot(self, other: Tensor) -> Tensor:
        """The dot product of vectors, or the matmul of matrices, as in numpy. More axes raise: numpy and matmul differ there."""
        if self.ndim > 2 or other.ndim > 2:
            raise ValueError(f"dot() expected vectors or matrices, got shapes {self.shape} and {other.shape}; use matmul or tensordot")
        return self.backend.namespace.matmul(self, other)  # type: ignore[no-any-return]

    def mm(self, other: Tensor) -> Tensor:
        """Matmul of two matrices."""
        return self._matmul("mm", 2, other)

    def bmm(self, other: Tensor) -> Tensor:
        """Matmul of two batches of matrices, (B, N, M) and (B, M, P)."""
        return self._matmul("bmm", 3, other)

    def _matmul(self, name: str, ndim: int, other: Tensor) -> Tensor:
        if self.ndim != ndim or other.ndim != ndim:
            raise ValueError(f"{name}() expected {ndim} axes, got shapes {self.shape} and {other.shape}; use matmul for other shapes")
        return self.backend.namespace.matmul(self, other)  # type: ignore[no-any-return]

    # ---- in place ----

    def _update(self, new: Any, name: str) -> Self:
        """`_rebind`, unless x is a view: PyTorch would also change the Tensor that the view was taken from."""
        if getattr(self, "_view", False):
            raise RuntimeError(
                f"{name} on a view, such as x[0] or x.reshape(...), would not change the Tensor x that it was taken from; "
                f"assign to x itself (x[0] = ...), or call .clone() on the view first"
            )
        return self._rebind(new, name)

    def fill_(self, value: Any) -> Self:
        """Set all elements to ``value``, a number or a 0-d Tensor."""
        xp = self.backend.namespace
        new = xp.broadcast_to(xp.astype(value, self.dtype), self.shape) if isinstance(value, Attributes) else xp.full_like(self, value)
        return self._update(new, "fill_()")

    def zero_(self) -> Self:
        """Set all elements to 0."""
        return self._update(self.backend.namespace.zeros_like(self), "zero_()")

    def copy_(self, other: Tensor) -> Self:
        """Set the values to those of ``other``, which is broadcast and converted to the dtype and device of x."""
        xp = self.backend.namespace
        new = xp.broadcast_to(xp.asarray(other, dtype=self.dtype, device=self.device), self.shape)
        return self._update(new, "copy_()")

    abs_ = _in_place(Forwarded.abs)
    add_ = _in_place(add)
    ceil_ = _in_place(Forwarded.ceil)
    clamp_ = _in_place(Forwarded.clamp)
    clip_ = _in_place(Forwarded.clip)
    div_ = _in_place(Forwarded.div)
    exp_ = _in_place(Forwarded.exp)
    floor_ = _in_place(Forwarded.floor)
    log_ = _in_place(Forwarded.log)
    masked_fill_ = _in_place(masked_fill)
    mul_ = _in_place(Forwarded.mul)
    neg_ = _in_place(Forwarded.neg)
    pow_ = _in_place(Forwarded.pow)
    reciprocal_ = _in_place(Forwarded.reciprocal)
    relu_ = _in_place(relu)
    round_ = _in_place(Forwarded.round)
    sigmoid_ = _in_place(Forwarded.sigmoid)
    sqrt_ = _in_place(Forwarded.sqrt)
    square_ = _in_place(Forwarded.square)
    sub_ = _in_place(sub)
    tanh_ = _in_place(Forwarded.tanh)
    trunc_ = _in_place(Forwarded.trunc)


def _is_one(alpha: Any) -> bool:
    return type(alpha) is int and alpha == 1
