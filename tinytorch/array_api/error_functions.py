"""The error function and its complement, which are not in the standard.

W. J. Cody 1969, *Rational Chebyshev approximations for the error function*, Mathematics of Computation 23, pages 631-637: ``erf`` for
|x| up to 0.46875 (table I), ``erfc`` for up to 4 (table II) and beyond (table III). The relative error is a few units in the last place.
"""

from __future__ import annotations

import math
from typing import Any

from tinytorch.array_api.approximation import check_real_floating, horner, own_or_portable
from tinytorch.array_api.precision import in_32_bits
from tinytorch.autograd.operation import operation
from tinytorch.tensor import Tensor

__all__ = [
    "erf",
    "erfc",
]

_NEAR = 0.46875
_FAR = 4.0
_ZERO = 30.0  #: erfc is 0 from here on, also in float64

_NEAR_TOP = (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3)
_NEAR_BOTTOM = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_MIDDLE_TOP = (
    *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2),
    *(8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
)
_MIDDLE_BOTTOM = (
    *(1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3),
    *(3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)
_FAR_TOP = (
    *(1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1),
    *(1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
)
_FAR_BOTTOM = (
    *(1.0, 2.56852019228982242, 1.87295284992346725),
    *(5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3),
)


def _near(xp: Any, x: Any) -> Any:
    """``erf(x)`` for |x| up to `_NEAR`; other values are those at this limit."""
    x = xp.clip(x, -_NEAR, _NEAR)
    square = x * x
    return x * (horner(square, _NEAR_TOP) / horner(square, _NEAR_BOTTOM))


def _complement(xp: Any, size: Any) -> Any:
    """``erfc(size)`` for sizes of at least `_NEAR`."""
    middle = xp.clip(size, _NEAR, _FAR)
    far = xp.clip(size, _FAR, _ZERO)
    inverse = 1.0 / (far * far)
    tail = inverse * (horner(inverse, _FAR_TOP) / horner(inverse, _FAR_BOTTOM))
    scaled = xp.where(size <= _FAR, horner(middle, _MIDDLE_TOP) / horner(middle, _MIDDLE_BOTTOM), (1.0 / math.sqrt(math.pi) - tail) / far)
    size = xp.clip(size, 0.0, _ZERO)
    high = xp.floor(size * 16.0) / 16.0  # its square is exact, so that exp(-size^2) loses no digits
    return scaled * xp.exp(-high * high) * xp.exp((high - size) * (high + size))


def _erf(xp: Any, x: Any) -> Any:
    size = xp.abs(x)
    outer = 1.0 - _complement(xp, size)
    return xp.where(size <= _NEAR, _near(xp, x), xp.where(x < 0, -outer, outer))


def _erfc(xp: Any, x: Any) -> Any:
    size = xp.abs(x)
    outer = _complement(xp, size)
    return xp.where(size <= _NEAR, 1.0 - _near(xp, x), xp.where(x < 0, 2.0 - outer, outer))


@operation
def erf(xp: Any, x: Tensor, /) -> Tensor:
    """The error function ``2 / sqrt(pi) * integral of exp(-t^2) from 0 to x``, element-wise.

    Args:
        x: real floating-point, any shape.

    Source: Cody 1969, *Rational Chebyshev approximations for the error function*.

    Example:
        >>> [round(value, 4) for value in tt.erf(tt.asarray([0.0, 1.0])).tolist()]
        [0.0, 0.8427]
    """
    check_real_floating(xp, "erf", x)
    return in_32_bits(xp, own_or_portable(xp, "erf", _erf), x)


@operation
def erfc(xp: Any, x: Tensor, /) -> Tensor:
    """The complementary error function ``1 - erf(x)``, element-wise, accurate where it is small.

    Args:
        x: real floating-point, any shape.

    Source: Cody 1969, *Rational Chebyshev approximations for the error function*.

    Example:
        >>> [f"{value:.3g}" for value in tt.erfc(tt.asarray([0.0, 5.0])).tolist()]
        ['1', '1.54e-12']
    """
    check_real_floating(xp, "erfc", x)
    return in_32_bits(xp, own_or_portable(xp, "erfc", _erfc), x)


_SLOPE = 2.0 / math.sqrt(math.pi)
erf.derivatives(x=lambda xp, g, out, x: g * (_SLOPE * xp.exp(-x * x)))
erfc.derivatives(x=lambda xp, g, out, x: g * (-_SLOPE * xp.exp(-x * x)))
