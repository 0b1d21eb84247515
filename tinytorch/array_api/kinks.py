"""Kinks: points where the first derivative is only a convention, so that the second derivative does not exist."""

from __future__ import annotations

import math
from typing import Any

from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def kinked(xp: Any, slope: Any, x: Any, at: Any) -> Any:
    """``slope``, the derivative with respect to x, which at the points ``at`` is a convention (such as 0 for a norm at the zero vector).

    For first derivatives (raw arrays) the slope is returned unchanged. When the rule itself is differentiated it runs on Tensors. There the
    convention is a constant, whose derivative 0 would be wrong: the derivative of the slope with respect to x is NaN at these points.

    Args:
        xp: the namespace of the arrays.
        slope: the factor by which the rule multiplies the gradient; it must not depend on that gradient.
        x: the operand, or a value computed from it; broadcasts to ``slope``.
        at: booleans; broadcasts to ``slope``.
    """
    return _kinked(slope, x, at) if isinstance(slope, Tensor) and isinstance(x, Tensor) else slope


@operation(saves=Saves.OTHERS)
def _kinked(xp: Any, slope: Tensor, x: Tensor, at: Tensor, /) -> Tensor:
    return slope


def _nan_rule(xp: Any, g: Any, out: Any, slope: Any, x: Any, at: Any) -> Any:
    """g times NaN at the kinks and 0 elsewhere; so is its derivative with respect to g, which forward mode uses."""
    ones = xp.ones_like(g)
    return xp.where(at, g * xp.where(at, ones * math.nan, ones), xp.zeros_like(g))


_kinked.derivatives(slope=lambda xp, g, out, slope, x, at: g, x=_nan_rule)
