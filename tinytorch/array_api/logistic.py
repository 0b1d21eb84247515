"""The logistic function and its inverse, and ``x log y``, which are not in the standard."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.approximation import check_real_floating, own_or_portable
from tinytorch.array_api.arithmetic import Number
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.precision import in_32_bits
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "logit",
    "sigmoid",
    "xlogy",
]


def _sigmoid(xp: Any, x: Any) -> Any:
    power = xp.exp(xp.clip(x, max=40.0))  # from 40 on the result is 1 also in float64
    return power / (1.0 + power)


@operation(saves=Saves.OUTPUT)
def sigmoid(xp: Any, x: Tensor, /) -> Tensor:
    """Logistic function ``1 / (1 + exp(-x))``, element-wise, without overflow.

    Args:
        x: real floating-point, any shape.

    Example:
        >>> tt.sigmoid(tt.asarray([0.0, 100.0]))
        Tensor([0.5, 1. ], dtype=float32, device='numpy:cpu')
    """
    check_real_floating(xp, "sigmoid", x)
    return in_32_bits(xp, own_or_portable(xp, "sigmoid", _sigmoid), x)


sigmoid.derivatives(x=lambda xp, g, out, x: g * (out * (1.0 - out)))


def _logit(xp: Any, x: Any) -> Any:
    inside = (x > 0) & (x < 1)
    safe = xp.where(inside, x, 0.5)
    # near 1/2, and above, the two logarithms would cancel; 2 x - 1 is exact there
    upper = safe >= 0.25
    twice = xp.where(upper, 2.0 * safe - 1.0, 0.0)
    out = xp.where(upper, xp.log1p(twice) - xp.log1p(-twice), xp.log(safe) - xp.log1p(-safe))
    infinity = xp.full_like(x, xp.inf)
    return xp.where(inside, out, xp.where(x == 0, -infinity, xp.where(x == 1, infinity, xp.nan)))


@operation
def logit(xp: Any, x: Tensor, /) -> Tensor:
    """``log(x / (1 - x))``, the inverse of `sigmoid`, element-wise; NaN outside of [0, 1].

    Args:
        x: real floating-point, any shape.

    Example:
        >>> tt.logit(tt.asarray([0.5, 0.25]))
        Tensor([ 0.       , -1.0986123], dtype=float32, device='numpy:cpu')
    """
    check_real_floating(xp, "logit", x)
    return in_32_bits(xp, lambda x: _logit(xp, x), x)


logit.derivatives(x=lambda xp, g, out, x: g / (x * (1.0 - x)))


@operation
def xlogy(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """``x1 * log(x2)``, element-wise, and 0 where x1 is 0, as in entropies; NaN where x2 is NaN.

    The derivatives at ``x1 = x2 = 0``, where both limits are infinite, are defined as 0.

    Args:
        x1: a Tensor or a number.
        x2: a Tensor or a number, broadcast with x1.

    Example:
        >>> tt.xlogy(tt.asarray([0.0, 2.0]), tt.asarray([0.0, 1.0]))
        Tensor([0., 0.], dtype=float32, device='numpy:cpu')
    """
    x1, x2 = _as_arrays(xp, x1, x2)
    check_real_floating(xp, "xlogy", x1)
    check_real_floating(xp, "xlogy", x2)
    zero = (x1 == 0) & ~xp.isnan(x2)
    product = x1 * xp.log(xp.where(zero, xp.ones_like(x2), x2))
    return xp.where(zero, xp.zeros_like(product), product)


def _as_arrays(xp: Any, x1: Any, x2: Any) -> tuple[Any, Any]:
    """Replace a Python number by an array of the other operand's dtype."""
    if isinstance(x1, int | float):
        return xp.full((), x1, dtype=x2.dtype), x2
    return x1, xp.full((), x2, dtype=x1.dtype) if isinstance(x2, int | float) else x2


def _xlogy_factor(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    x1, x2 = _as_arrays(xp, x1, x2)
    corner = (x1 == 0) & (x2 <= 0)
    slope = xp.log(xp.where(corner, xp.ones_like(x2), x2))
    return g * kinked(xp, kinked(xp, slope, x2, corner), x1, corner)


def _xlogy_argument(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    x1, x2 = _as_arrays(xp, x1, x2)
    corner = (x1 == 0) & (x2 == 0)
    slope = x1 / xp.where(corner, xp.ones_like(x2), x2)
    return g * kinked(xp, kinked(xp, slope, x2, corner), x1, corner)


xlogy.derivatives(x1=_xlogy_factor, x2=_xlogy_argument)
