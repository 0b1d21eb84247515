"""The error function, which is not in the standard."""

from __future__ import annotations

from typing import Any

#: ``erfc(x) = t exp(-x^2 + c_0 / 2 + c_1 T_1(2t - 1) + c_2 T_2(2t - 1) + ...)`` for x >= 0 with ``t = 2 / (2 + x)`` and Chebyshev
#: polynomials T: the form of Numerical Recipes, 3rd ed., section 6.2.2. The coefficients were computed with 60 digits at
#: 120 Chebyshev points.
_COEFFICIENTS = (
    -1.30265371978170943,
    0.64196979235649026,
    0.0194764732041858363,
    -0.00956151478680863164,
    -0.000946595344482036866,
    0.000366839497852761452,
    0.0000425233248069077716,
    -0.0000202785781125342432,
    -1.62429000464702551e-6,
    1.3036558355805232e-6,
    1.56264417220661432e-8,
    -8.52380959149265425e-8,
    6.5290544390988515e-9,
    5.05934349555146894e-9,
    -9.91364156493033087e-10,
    -2.27365122293183586e-10,
    9.6467911020155268e-11,
    2.39403808303911474e-12,
    -6.8860275264975534e-12,
    8.94487927309072572e-13,
    3.13092139934295808e-13,
    -1.12708223613672524e-13,
    3.81090525518923206e-16,
    7.10609761360923699e-15,
    -1.5230282014571043e-15,
    -9.457494571291234e-17,
    1.21023718922427899e-16,
    -2.81666308774717697e-17,
)


def erf(xp: Any, x: Any) -> Any:
    """The error function ``2 / sqrt(pi) * integral of exp(-t^2) from 0 to x``, accurate to the precision of the dtype of x."""
    # not sign and abs, whose derivatives at 0 are 0: with this formula the derivative at 0 is correct
    side = xp.where(x < 0, -xp.ones_like(x), xp.ones_like(x))
    size = side * x
    t = 2.0 / (2.0 + size)
    twice = 2.0 * (2.0 * t - 1.0)
    last, previous = xp.zeros_like(x), xp.zeros_like(x)
    for coefficient in _COEFFICIENTS[:0:-1]:  # Clenshaw's recurrence, from the highest coefficient down
        last, previous = twice * last - previous + coefficient, last
    exponent = 0.5 * (_COEFFICIENTS[0] + twice * last) - previous - size * size
    return side * (1.0 - t * xp.exp(exponent))
