"""The logarithm of the gamma function and its derivatives, which are not in the standard.

The derivative of `lgamma` is `digamma`, and that of ``polygamma(n, x)`` is ``polygamma(n + 1, x)``, so derivatives of any order exist.
"""

from __future__ import annotations

import math
from typing import Any

from tinytorch.array_api.approximation import call, check_real_floating, horner, own_or_portable
from tinytorch.array_api.precision import in_32_bits
from tinytorch.autograd.operation import operation
from tinytorch.tensor import Tensor

__all__ = [
    "digamma",
    "lgamma",
    "polygamma",
]


def _distance_to_integer(xp: Any, x: Any) -> Any:
    """x minus the nearest integer, which is exact; 0 for infinities."""
    finite = xp.where(xp.isinf(x), xp.zeros_like(x), x)
    return finite - xp.floor(finite + 0.5)


# ---- lgamma ----

#: Cody and Hillstrom 1967: (value, numerator, denominator) of ``lgamma(1 + z) / z``, ``lgamma(2 + z) / z`` and ``lgamma(4 + z)``.
_AT_1 = (
    -5.772156649015328605195174e-1,
    (
        *(4.945235359296727046734888, 2.018112620856775083915565e2, 2.290838373831346393026739e3, 1.131967205903380828685045e4),
        *(2.855724635671635335736389e4, 3.848496228443793359990269e4, 2.637748787624195437963534e4, 7.225813979700288197698961e3),
    ),
    (
        *(1.0, 6.748212550303777196073036e1, 1.113332393857199323513008e3, 7.738757056935398733233834e3, 2.763987074403340708898585e4),
        *(5.499310206226157329794414e4, 6.161122180066002127833352e4, 3.635127591501940507276287e4, 8.785536302431013170870835e3),
    ),
)
_AT_2 = (
    4.227843350984671393993777e-1,
    (
        *(4.974607845568932035012064, 5.424138599891070494101986e2, 1.550693864978364947665077e4, 1.847932904445632425417223e5),
        *(1.088204769468828767498470e6, 3.338152967987029735917223e6, 5.106661678927352456275255e6, 3.074109054850539556250927e6),
    ),
    (
        *(1.0, 1.830328399370592604055942e2, 7.765049321445005871323047e3, 1.331903827966074194402448e5, 1.136705821321969608938755e6),
        *(5.267964117437946917577538e6, 1.346701454311101692290052e7, 1.782736530353274213975932e7, 9.533095591844353613395747e6),
    ),
)
_AT_4 = (
    1.791759469228055000094023,
    (
        *(1.474502166059939948905062e4, 2.426813369486704502836312e6, 1.214755574045093227939592e8, 2.663432449630976949898078e9),
        *(2.940378956634553899906876e10, 1.702665737765398868392998e11, 4.926125793377430887588120e11, 5.606251856223951465078242e11),
    ),
    (
        *(-1.0, 2.690530175870899333379843e3, 6.393885654300092398984238e5, 4.135599930241388052042842e7, 1.120872109616147941376570e9),
        *(1.488613728678813811542398e10, 1.016803586272438228077304e11, 3.417476345507377132798597e11, 4.463158187419713286462081e11),
    ),
)
#: Stirling's series for x above 12: coefficients of powers of ``1 / x^2``, the highest first, economized in the same paper.
_STIRLING = (
    *(5.7083835261e-3, -1.910444077728e-3, 8.4171387781295e-4, -5.952379913043012e-4),
    *(7.93650793500350248e-4, -2.777777777777681622553e-3, 8.333333333333333331554247e-2),
)


def _ratio(z: Any, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> Any:
    return horner(z, numerator) / horner(z, denominator)


def _lgamma_of_positive(xp: Any, y: Any) -> Any:
    """For finite y of at least 0; infinite at 0. Below 0.68 it is ``lgamma(1 + y) - log(y)``."""
    small = y < 0.6796875
    correction = xp.where(small, -xp.log(xp.where(small & (y > 0), y, xp.ones_like(y))), xp.zeros_like(y))
    z1 = xp.clip(xp.where(y <= 0.5, y, (y - 0.5) - 0.5), -0.5, 0.5)
    z2 = xp.clip(xp.where(small, (y - 0.5) - 0.5, y - 2.0), -0.5, 2.0)
    z4 = xp.clip(y - 4.0, 0.0, 8.0)
    near_1 = correction + z1 * (_AT_1[0] + z1 * _ratio(z1, *_AT_1[1:]))
    near_2 = correction + z2 * (_AT_2[0] + z2 * _ratio(z2, *_AT_2[1:]))
    near_4 = _AT_4[0] + z4 * _ratio(z4, *_AT_4[1:])
    largest = 2.5e305 if xp.finfo(y.dtype).bits == 64 else 4e36  # the result is infinite above
    far = xp.clip(y, 12.0, largest)
    log_far = xp.log(far)
    inverse = 1.0 / far
    stirling = horner(inverse * inverse, _STIRLING) * inverse + (0.5 * math.log(2 * math.pi) - 0.5 * log_far) + far * (log_far - 1.0)
    out = xp.where(y <= 4.0, near_2, xp.where(y <= 12.0, near_4, stirling))
    out = xp.where((y <= 0.5) | ((y >= 0.6796875) & (y <= 1.5)), near_1, out)
    return xp.where((y == 0) | (y > largest), math.inf, out)


def _lgamma(xp: Any, x: Any) -> Any:
    size = xp.abs(x)
    out = _lgamma_of_positive(xp, size)
    # reflection: lgamma(-y) = log(pi / (y |sin(pi y)|)) - lgamma(y)
    sine = xp.abs(xp.sin(math.pi * _distance_to_integer(xp, size)))
    pole = (x <= 0) & ((sine == 0) | xp.isinf(x))
    ordinary = (x < 0) & ~pole
    one = xp.ones_like(x)
    logs = xp.log(math.pi / xp.where(ordinary, sine, one)) - xp.log(xp.where(ordinary, size, one))
    return xp.where(pole, math.inf, xp.where(ordinary, logs - xp.where(ordinary, out, one), out))


@operation
def lgamma(xp: Any, x: Tensor, /) -> Tensor:
    """Logarithm of the absolute value of the gamma function, element-wise.

    Args:
        x: real floating-point, any shape.

    Source: Cody and Hillstrom 1967, *Chebyshev approximations for the natural logarithm of the gamma function*, Mathematics of
    Computation 21, pages 198-203; reflection for negative numbers. The relative error is a few units in the last place, except near
    zeros at negative numbers, where the absolute error is.

    Example:
        >>> round(tt.lgamma(tt.asarray(4.0)).item(), 4)  # log(3!) = log(6)
        1.7918
    """
    check_real_floating(xp, "lgamma", x)
    return in_32_bits(xp, own_or_portable(xp, "lgamma", _lgamma), x)


# ---- digamma ----

#: Cody, Strecok and Thacher 1973: ``digamma(x) / (x - root)`` for x from 0.5 to 3, and ``digamma(x) - log(x) + 1 / (2 x)`` in powers of
#: ``1 / x^2`` for x above 3.
_ROOT = (187 / 128, 6.9464496836234126266e-4)  #: the zero, in two parts
_NEAR_ROOT = (
    (
        *(4.5104681245762934160e-3, 5.4932855833000385356, 3.7646693175929276856e2, 7.9525490849151998065e3, 7.1451595818951933210e4),
        *(3.0655976301987365674e5, 6.3606997788964458797e5, 5.8041312783537569993e5, 1.6585695029761022321e5),
    ),
    (
        *(1.0, 9.6141654774222358525e1, 2.6287715790581193330e3, 2.9862497022250277920e4, 1.6206566091533671639e5),
        *(4.3487880712768329037e5, 5.4256384537269993733e5, 2.4242185002017985252e5, 6.4155223783576225996e-8),
    ),
)
_FAR_FROM_ROOT = (
    (
        *(-2.7103228277757834192, -1.5166271776896121383e1, -1.9784554148719218667e1, -8.8100958828312219821),
        *(-1.4479614616899842986, -7.3689600332394549911e-2, -6.5135387732718171306e-21),
    ),
    (
        *(1.0, 4.4992760373789365846e1, 2.0240955312679931159e2, 2.4736979003315290057e2),
        *(1.0742543875702278326e2, 1.7463965060678569906e1, 8.8427520398873480342e-1),
    ),
)


def _cotangent(xp: Any, x: Any) -> tuple[Any, Any]:
    """``cot(pi x)`` and whether x is a pole, an integer or an infinity, where the cotangent is given as 0."""
    distance = _distance_to_integer(xp, x)
    pole = distance == 0
    size = xp.abs(distance)
    steep = size < 0.25  # elsewhere cot(t) = tan(pi/2 - t), which is exact near its zero
    tangent = xp.tan(math.pi * xp.where(steep, xp.where(pole, 0.25, size), 0.5 - size))
    cotangent = xp.where(steep, 1.0 / xp.where(steep, tangent, 1.0), tangent)
    return xp.where(pole, 0.0, xp.where(distance < 0, -cotangent, cotangent)), pole


def _digamma(xp: Any, x: Any) -> Any:
    y = xp.where(x < 0, 1.0 - x, x)
    small = y < 0.5  # digamma(y) = digamma(1 + y) - 1 / y
    shifted = xp.where(small, y + 1.0, y)
    near = xp.clip(shifted, 0.5, 3.0)
    far = xp.where(shifted > 3.0, shifted, 3.0)
    inverse = 1.0 / far
    asymptotic = xp.log(far) - 0.5 * inverse + _ratio(inverse * inverse, *_FAR_FROM_ROOT)
    out = xp.where(shifted > 3.0, asymptotic, ((near - _ROOT[0]) - _ROOT[1]) * _ratio(near, *_NEAR_ROOT))
    out = xp.where(small, out - 1.0 / xp.where(small & (y != 0), y, 1.0), out)
    cotangent, pole = _cotangent(xp, x)
    out = xp.where(x < 0, xp.where(pole, math.nan, out - math.pi * cotangent), out)
    return xp.where(x == 0, xp.copysign(xp.full_like(x, math.inf), -x), xp.where(xp.isnan(x), x, out))


@operation
def digamma(xp: Any, x: Tensor, /) -> Tensor:
    """The derivative of `lgamma`, element-wise; NaN at negative integers.

    Args:
        x: real floating-point, any shape.

    Source: Cody, Strecok and Thacher 1973, *Chebyshev approximations for the psi function*, Mathematics of Computation 27, pages 123-127;
    reflection for negative numbers.

    Example:
        >>> round(tt.digamma(tt.asarray(1.0)).item(), 4)  # minus Euler's constant
        -0.5772
    """
    check_real_floating(xp, "digamma", x)
    return in_32_bits(xp, own_or_portable(xp, "digamma", _digamma), x)


# ---- polygamma ----

#: Bernoulli numbers B_2, B_4, ... divided by (2 j)!
_BERNOULLI = [
    b / math.factorial(2 * j + 2)
    for j, b in enumerate(
        [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138]
    )
]


def _zeta(xp: Any, s: int, a: Any) -> Any:
    """The Hurwitz zeta function, the sum of ``(a + k)^-s``, for a > 0 and s > 1, by the Euler-Maclaurin formula (DLMF 25.11.5)."""
    terms = 10 + s
    total = xp.zeros_like(a)
    for k in reversed(range(terms)):  # the small terms first
        total = total + (1.0 / (a + float(k))) ** s
    inverse = 1.0 / (a + float(terms))
    total = total + inverse ** (s - 1) / (s - 1.0) + 0.5 * inverse**s
    factor = s * inverse ** (s + 1)
    for j, coefficient in enumerate(_BERNOULLI):
        total = total + coefficient * factor
        factor = factor * ((s + 2 * j + 1.0) * (s + 2 * j + 2.0)) * (inverse * inverse)
    return total


def _derivative_of_cotangent(n: int, cotangent: Any) -> Any:
    """The n-th derivative of ``cot(t)``, a polynomial in the cotangent: each derivative of a power c^k is ``-k c^(k-1) (1 + c^2)``."""
    coefficients = [0, 1]  # the lowest power first
    for _ in range(n):
        slopes = [-k * coefficient for k, coefficient in enumerate(coefficients)][1:]
        coefficients = [a + b for a, b in zip([*slopes, 0, 0], [0, 0, *slopes], strict=True)]
    return horner(cotangent, [float(c) for c in reversed(coefficients)])


@operation
def _polygamma(xp: Any, n: int, x: Tensor, /) -> Tensor:
    check_real_floating(xp, "polygamma", x)
    return in_32_bits(xp, lambda x: _polygamma_of(xp, n, x), x)


_polygamma.__name__ = "polygamma"


def _polygamma_of(xp: Any, n: int, x: Any) -> Any:
    sign = 1.0 if n % 2 else -1.0
    positive = xp.where(x > 0, x, 1.0 - x)
    out = sign * math.factorial(n) * _zeta(xp, n + 1, positive)
    # reflection (DLMF 5.15.6), with the n-th derivative of pi cot(pi x)
    cotangent, pole = _cotangent(xp, xp.where(x > 0, 0.5, x))
    reflected = -sign * out - math.pi ** (n + 1) * _derivative_of_cotangent(n, cotangent)
    reflected = xp.where(pole, math.inf if n % 2 else math.nan, reflected)
    return xp.where(xp.isnan(x), x, xp.where(x > 0, out, reflected))


def polygamma(n: int, x: Tensor, /) -> Tensor:
    """The n-th derivative of `digamma`, element-wise.

    Args:
        n: order, an integer of at least 0.
        x: real floating-point, any shape.

    Raises:
        ValueError: ``n`` is not an integer of at least 0.

    Source: DLMF (https://dlmf.nist.gov), 25.11.12 and 25.11.5: ``(-1)^(n + 1) n! zeta(n + 1, x)``, with the Euler-Maclaurin formula.

    Example:
        >>> round(tt.polygamma(1, tt.asarray(1.0)).item(), 4)  # pi^2 / 6
        1.6449
    """
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"polygamma: `n` must be an integer of at least 0, got {n!r}; write polygamma(n, x)")
    return _polygamma(n, x) if n else digamma(x)


lgamma.derivatives(x=lambda xp, g, out, x: g * call(digamma, xp, x))
digamma.derivatives(x=lambda xp, g, out, x: g * call(_polygamma, xp, 1, x))
_polygamma.derivatives(x=lambda xp, g, out, n, x: g * call(_polygamma, xp, n + 1, x))
