"""Element-wise maximum, minimum and clipping."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.arithmetic import Number
from tinytorch.autograd.operation import operation
from tinytorch.tensor import Tensor

__all__ = [
    "clip",
    "maximum",
    "minimum",
]


def _split_ties(xp: Any, g: Any, ahead: Any, tied: Any) -> Any:
    """``g`` where the operand is selected, ``g / 2`` where both are equal, and 0 elsewhere."""
    return xp.where(ahead, g, xp.where(tied, g / 2, xp.zeros_like(g)))


@operation
def maximum(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """Element-wise maximum of x1 and x2. Equal operands each get half of the gradient.

    Example:
        >>> tt.maximum(tt.asarray([1.0, 5.0]), 3.0)
        Tensor([3., 5.], dtype=float32, device='numpy:cpu')
    """
    return xp.maximum(x1, x2)


maximum.derivatives(
    x1=lambda xp, g, out, x1, x2: _split_ties(xp, g, x1 > x2, x1 == x2),
    x2=lambda xp, g, out, x1, x2: _split_ties(xp, g, x2 > x1, x1 == x2),
)


@operation
def minimum(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """Element-wise minimum of x1 and x2. Equal operands each get half of the gradient.

    Example:
        >>> tt.minimum(tt.asarray([1.0, 5.0]), 3.0)
        Tensor([1., 3.], dtype=float32, device='numpy:cpu')
    """
    return xp.minimum(x1, x2)


minimum.derivatives(
    x1=lambda xp, g, out, x1, x2: _split_ties(xp, g, x1 < x2, x1 == x2),
    x2=lambda xp, g, out, x1, x2: _split_ties(xp, g, x2 < x1, x1 == x2),
)


@operation
def _clip(xp: Any, x: Tensor, min: Number | None, max: Number | None, /) -> Tensor:
    return xp.clip(x, min, max)


_clip.derivatives(
    x=lambda xp, g, out, x, min, max: xp.where(_inside(xp, x, min, max), g, xp.zeros_like(g)),
    min=lambda xp, g, out, x, min, max: xp.where(x < min, g, xp.zeros_like(g)),
    max=lambda xp, g, out, x, min, max: xp.where(x > max, g, xp.zeros_like(g)),
)


_clip.__name__ = "clip"


def _inside(xp: Any, x: Any, min: Any, max: Any) -> Any:
    inside = xp.ones_like(x, dtype=xp.bool)
    if min is not None:
        inside = inside & (x >= min)
    if max is not None:
        inside = inside & (x <= max)
    return inside


def clip(x: Tensor, /, min: Number | None = None, max: Number | None = None) -> Tensor:
    """x limited to the range [min, max], element-wise. At a bound the gradient goes to x.

    Example:
        >>> tt.clip(tt.asarray([-2.0, 0.5, 2.0]), min=-1.0, max=1.0)
        Tensor([-1. ,  0.5,  1. ], dtype=float32, device='numpy:cpu')
    """
    return _clip(x, min, max)
