"""Powers, roots, exponentials and logarithms, element by element, each with its derivative."""

from __future__ import annotations

import cmath
import math
from typing import Any

from tinytorch.array_api.arithmetic import Number, is_complex
from tinytorch.array_api.kinks import kinked
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "exp",
    "expm1",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "pow",
    "sqrt",
    "square",
]


@operation(saves=Saves.BOTH)
def pow(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """x1 to the power of x2."""
    return xp.pow(x1, x2)


def _pow_base(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    if isinstance(x2, int | float | complex):  # the common case; x ** 0 is constant, at x = 0 too
        return g * (x2 * xp.pow(x1, x2 - 1)) if x2 != 0 else xp.zeros_like(g)
    constant = (x1 == 0) & (x2 == 0)
    power = xp.pow(x1, xp.where(constant, xp.ones_like(x2), x2 - 1))
    slope = xp.where(constant, xp.zeros_like(out), x2 * power)
    return g * kinked(xp, slope, x2, _lacks_logarithm(xp, x1, x2 - 1, is_complex(xp, out)))


def _pow_exponent(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    """Zero at a base of 0, where the function is flat, and at negative ones among real numbers, where there is no derivative."""
    complex_power = is_complex(xp, out)
    if isinstance(x1, int | float | complex):
        number = complex(x1)
        if number == 0 or (not complex_power and number.real < 0):
            zeros = xp.zeros_like(out)
            return g * kinked(xp, zeros, x2, _lacks_logarithm(xp, zeros + x1, x2, complex_power))
        return g * out * (cmath.log(number) if complex_power else math.log(number.real))
    base = xp.astype(x1, out.dtype, copy=False) if complex_power else x1  # a negative real base has a complex logarithm
    has_logarithm = base != 0 if complex_power else base > 0
    slope = out * xp.log(xp.where(has_logarithm, base, xp.ones_like(base)))
    slope = kinked(xp, slope, x1, _lacks_logarithm(xp, base, x2 - 1, complex_power))
    return g * kinked(xp, slope, x2, _lacks_logarithm(xp, base, x2, complex_power))


def _lacks_logarithm(xp: Any, base: Any, exponent: Any, complex_power: bool) -> Any:
    """Where ``base ** exponent`` has no derivative by the exponent: at negative real bases, and at 0, where it jumps, up to exponent 0."""
    jump = (base == 0) & ((xp.real(exponent) if is_complex(xp, exponent) else exponent) <= 0)
    return jump if complex_power else jump | (base < 0)


pow.derivatives(x1=_pow_base, x2=_pow_exponent)


@operation
def square(xp: Any, x: Tensor, /) -> Tensor:
    """x * x."""
    return xp.square(x)


square.derivatives(x=lambda xp, g, out, x: g * (2 * x))


@operation(saves=Saves.OUTPUT)
def sqrt(xp: Any, x: Tensor, /) -> Tensor:
    """Square root."""
    return xp.sqrt(x)


sqrt.derivatives(x=lambda xp, g, out, x: g / (2 * out))


@operation(saves=Saves.OUTPUT)
def exp(xp: Any, x: Tensor, /) -> Tensor:
    """e to the power of x."""
    return xp.exp(x)


exp.derivatives(x=lambda xp, g, out, x: g * out)


@operation(saves=Saves.OUTPUT)
def expm1(xp: Any, x: Tensor, /) -> Tensor:
    """e to the power of x, minus 1, exact near 0."""
    return xp.expm1(x)


expm1.derivatives(x=lambda xp, g, out, x: g * (out + 1))


@operation
def log(xp: Any, x: Tensor, /) -> Tensor:
    """Natural logarithm."""
    return xp.log(x)


log.derivatives(x=lambda xp, g, out, x: g / x)


@operation
def log1p(xp: Any, x: Tensor, /) -> Tensor:
    """Natural logarithm of 1 + x, exact near 0."""
    return xp.log1p(x)


log1p.derivatives(x=lambda xp, g, out, x: g / (1 + x))


@operation
def log2(xp: Any, x: Tensor, /) -> Tensor:
    """Logarithm to base 2."""
    return xp.log2(x)


log2.derivatives(x=lambda xp, g, out, x: g / (x * math.log(2)))


@operation
def log10(xp: Any, x: Tensor, /) -> Tensor:
    """Logarithm to base 10."""
    return xp.log10(x)


log10.derivatives(x=lambda xp, g, out, x: g / (x * math.log(10)))


@operation(saves=Saves.BOTH)
def logaddexp(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """log(exp(x1) + exp(x2)), without overflow."""
    return xp.logaddexp(x1, x2)


logaddexp.derivatives(
    x1=lambda xp, g, out, x1, x2: g * _share_of_sum(xp, out, x1, x2),
    x2=lambda xp, g, out, x1, x2: g * _share_of_sum(xp, out, x2, x1),
)


def _share_of_sum(xp: Any, out: Any, x: Any, other: Any) -> Any:
    """1 / (1 + exp(other - x)), without overflow; half where both are the same infinity, which have no difference."""
    zero = xp.zeros_like(out)
    same = xp.isinf(out) & (x == other)
    share = xp.exp(-xp.logaddexp(xp.where(same, zero, other) - xp.where(same, zero, x), zero))
    return kinked(xp, kinked(xp, share, x, same), other, same)
