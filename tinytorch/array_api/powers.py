"""Element-wise powers, roots, exponentials and logarithms with derivative rules."""

from __future__ import annotations

import cmath
import math
from typing import Any

from tinytorch.array_api.arithmetic import Number
from tinytorch.array_api.complex_numbers import is_complex
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
    """``x1 ** x2``, element-wise.

    Example:
        >>> tt.pow(tt.asarray([1.0, 2.0, 3.0]), 2.0)
        Tensor([1., 4., 9.], dtype=float32, device='numpy:cpu')
    """
    return xp.pow(x1, x2)


def _pow_base(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    if isinstance(x2, int | float | complex):  # the common case; x ** 0 is constant, at x = 0 too
        return g * (x2 * xp.pow(x1, x2 - 1)) if x2 != 0 else xp.zeros_like(g)
    constant = (x1 == 0) & (x2 == 0)
    power = xp.pow(x1, xp.where(constant, xp.ones_like(x2), x2 - 1))
    slope = xp.where(constant, xp.zeros_like(out), x2 * power)
    return g * kinked(xp, slope, x2, _no_exponent_derivative(xp, x1, x2 - 1, is_complex(xp, out)))


def _pow_exponent(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    """The slope is defined as 0 at base 0, where the function is constant, and at negative real bases, where no derivative exists."""
    complex_power = is_complex(xp, out)
    if isinstance(x1, int | float | complex):
        number = complex(x1)
        if number == 0 or (not complex_power and number.real < 0):
            zeros = xp.zeros_like(out)
            return g * kinked(xp, zeros, x2, _no_exponent_derivative(xp, zeros + x1, x2, complex_power))
        return g * out * (cmath.log(number) if complex_power else math.log(number.real))
    base = xp.astype(x1, out.dtype, copy=False) if complex_power else x1  # a negative real base has a complex logarithm
    has_logarithm = base != 0 if complex_power else base > 0
    slope = out * xp.log(xp.where(has_logarithm, base, xp.ones_like(base)))
    slope = kinked(xp, slope, x1, _no_exponent_derivative(xp, base, x2 - 1, complex_power))
    return g * kinked(xp, slope, x2, _no_exponent_derivative(xp, base, x2, complex_power))


def _no_exponent_derivative(xp: Any, base: Any, exponent: Any, complex_power: bool) -> Any:
    """Where ``base ** exponent`` has no derivative with respect to the exponent.

    That is at negative real bases, and at base 0 for exponents up to 0, where the function is discontinuous.
    """
    jump = (base == 0) & ((xp.real(exponent) if is_complex(xp, exponent) else exponent) <= 0)
    return jump if complex_power else jump | (base < 0)


pow.derivatives(x1=_pow_base, x2=_pow_exponent)


@operation
def square(xp: Any, x: Tensor, /) -> Tensor:
    """``x * x``, element-wise.

    Example:
        >>> tt.square(tt.asarray([1.0, -2.0]))
        Tensor([1., 4.], dtype=float32, device='numpy:cpu')
    """
    return xp.square(x)


square.derivatives(x=lambda xp, g, out, x: g * (2 * x))


@operation(saves=Saves.OUTPUT)
def sqrt(xp: Any, x: Tensor, /) -> Tensor:
    """Square root, element-wise.

    Example:
        >>> tt.sqrt(tt.asarray([4.0, 9.0]))
        Tensor([2., 3.], dtype=float32, device='numpy:cpu')
    """
    return xp.sqrt(x)


sqrt.derivatives(x=lambda xp, g, out, x: g / (2 * out))


@operation(saves=Saves.OUTPUT)
def exp(xp: Any, x: Tensor, /) -> Tensor:
    """Exponential function, element-wise.

    Example:
        >>> tt.exp(tt.asarray([0.0]))
        Tensor([1.], dtype=float32, device='numpy:cpu')
    """
    return xp.exp(x)


exp.derivatives(x=lambda xp, g, out, x: g * out)


@operation(saves=Saves.OUTPUT)
def expm1(xp: Any, x: Tensor, /) -> Tensor:
    """``exp(x) - 1``, element-wise, accurate near 0.

    Example:
        >>> tt.expm1(tt.asarray([0.0, 1e-6]))
        Tensor([0.0000000e+00, 1.0000005e-06], dtype=float32, device='numpy:cpu')
    """
    return xp.expm1(x)


expm1.derivatives(x=lambda xp, g, out, x: g * (out + 1))


@operation
def log(xp: Any, x: Tensor, /) -> Tensor:
    """Natural logarithm, element-wise.

    Example:
        >>> tt.log(tt.asarray([1.0, tt.e]))
        Tensor([0., 1.], dtype=float32, device='numpy:cpu')
    """
    return xp.log(x)


log.derivatives(x=lambda xp, g, out, x: g / x)


@operation
def log1p(xp: Any, x: Tensor, /) -> Tensor:
    """``log(1 + x)``, element-wise, accurate near 0.

    Example:
        >>> tt.log1p(tt.asarray([0.0, 1e-6]))
        Tensor([0.000000e+00, 9.999995e-07], dtype=float32, device='numpy:cpu')
    """
    return xp.log1p(x)


log1p.derivatives(x=lambda xp, g, out, x: g / (1 + x))


@operation
def log2(xp: Any, x: Tensor, /) -> Tensor:
    """Base-2 logarithm, element-wise.

    Example:
        >>> tt.log2(tt.asarray([1.0, 8.0]))
        Tensor([0., 3.], dtype=float32, device='numpy:cpu')
    """
    return xp.log2(x)


log2.derivatives(x=lambda xp, g, out, x: g / (x * math.log(2)))


@operation
def log10(xp: Any, x: Tensor, /) -> Tensor:
    """Base-10 logarithm, element-wise.

    Example:
        >>> tt.log10(tt.asarray([1.0, 100.0]))
        Tensor([0.       , 2.0000002], dtype=float32, device='numpy:cpu')
    """
    return xp.log10(x)


log10.derivatives(x=lambda xp, g, out, x: g / (x * math.log(10)))


@operation(saves=Saves.BOTH)
def logaddexp(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """``log(exp(x1) + exp(x2))``, element-wise, without overflow.

    Example:
        >>> tt.logaddexp(tt.asarray([1000.0]), 0.0)
        Tensor([1000.], dtype=float32, device='numpy:cpu')
    """
    return xp.logaddexp(x1, x2)


logaddexp.derivatives(
    x1=lambda xp, g, out, x1, x2: g * _sigmoid_of_difference(xp, out, x1, x2),
    x2=lambda xp, g, out, x1, x2: g * _sigmoid_of_difference(xp, out, x2, x1),
)


def _sigmoid_of_difference(xp: Any, out: Any, x: Any, other: Any) -> Any:
    """``1 / (1 + exp(other - x))``, without overflow; 1/2 where both are the same infinity."""
    zero = xp.zeros_like(out)
    same = xp.isinf(out) & (x == other)
    share = xp.exp(-xp.logaddexp(xp.where(same, zero, other) - xp.where(same, zero, x), zero))
    return kinked(xp, kinked(xp, share, x, same), other, same)
