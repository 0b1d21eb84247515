"""Kinks: points where the first derivative is only a convention, so that the second derivative does not exist."""

from __future__ import annotations

import math
from typing import Any

from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def kinked(xp: Any, slope: Any, x: Any, at: Any) -> Any:
    """Return ``slope``, the derivative with respect to x, and make its own derivative NaN at the points ``at``.

    At these points the slope is only a convention (such as 0 for a norm at the zero vector), so its derivative does not exist. Without this
    function it would be 0, which is wrong. If the arguments are raw arrays, only a first derivative is computed and nothing is changed.

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
    """NaN at the kinks and 0 elsewhere, as a multiple of g: forward mode differentiates this rule with respect to g."""
    ones = xp.ones_like(g)
    return xp.where(at, g * xp.where(at, ones * math.nan, ones), xp.zeros_like(g))


_kinked.derivatives(slope=lambda xp, g, out, slope, x, at: g, x=_nan_rule)
