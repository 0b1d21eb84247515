"""Element-wise arithmetic with derivative rules. Operands broadcast; the graph sums gradients over the broadcast dimensions."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.complex_numbers import is_complex
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.precision import LARGEST_16, in_32_bits
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "abs",
    "add",
    "copysign",
    "divide",
    "multiply",
    "negative",
    "positive",
    "reciprocal",
    "remainder",
    "sign",
    "subtract",
]

Number = Tensor | float | complex


@operation(saves=Saves.NOTHING)
def add(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """``x1 + x2``, element-wise.

    Example:
        >>> tt.add(tt.asarray([1.0, 2.0]), 10.0)
        Tensor([11., 12.], dtype=float32, device='numpy:cpu')
    """
    return xp.add(x1, x2)


add.derivatives(
    x1=lambda xp, g, out, x1, x2: g,
    x2=lambda xp, g, out, x1, x2: g,
)


@operation(saves=Saves.NOTHING)
def subtract(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """``x1 - x2``, element-wise.

    Example:
        >>> tt.subtract(tt.asarray([1.0, 2.0]), 0.5)
        Tensor([0.5, 1.5], dtype=float32, device='numpy:cpu')
    """
    return xp.subtract(x1, x2)


subtract.derivatives(
    x1=lambda xp, g, out, x1, x2: g,
    x2=lambda xp, g, out, x1, x2: -g,
)


@operation(saves=Saves.OTHERS)
def multiply(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """``x1 * x2``, element-wise.

    Example:
        >>> tt.multiply(tt.asarray([1.0, 2.0]), tt.asarray([[3.0], [4.0]])).tolist()
        [[3.0, 6.0], [4.0, 8.0]]
    """
    return xp.multiply(x1, x2)


multiply.derivatives(
    x1=lambda xp, g, out, x1, x2: g * x2,
    x2=lambda xp, g, out, x1, x2: g * x1,
)


@operation
def divide(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """``x1 / x2``, element-wise. A 16-bit Tensor may be divided by a Python number outside the range of float16, such as a count.

    Example:
        >>> tt.divide(tt.asarray([1.0, 2.0]), 4)
        Tensor([0.25, 0.5 ], dtype=float32, device='numpy:cpu')
    """
    if (type(x2) is float or type(x2) is int) and not -LARGEST_16 <= x2 <= LARGEST_16:
        return in_32_bits(xp, lambda x1: xp.divide(x1, x2), x1)
    return xp.divide(x1, x2)


divide.derivatives(
    x1=lambda xp, g, out, x1, x2: divide.forward(xp, g, x2),
    x2=lambda xp, g, out, x1, x2: -g * (x1 / x2) / x2,
)


@operation
def remainder(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """Element-wise remainder of ``x1 / x2``, with the sign of x2.

    Example:
        >>> tt.remainder(tt.asarray([5.0, -5.0]), 3.0)
        Tensor([2., 1.], dtype=float32, device='numpy:cpu')
    """
    return xp.remainder(x1, x2)


remainder.derivatives(
    x1=lambda xp, g, out, x1, x2: g,
    x2=lambda xp, g, out, x1, x2: -g * xp.floor_divide(x1, x2),  # not floor(x1 / x2): the quotient may have been rounded up
)


@operation(saves=Saves.NOTHING)
def negative(xp: Any, x: Tensor, /) -> Tensor:
    """``-x``, element-wise.

    Example:
        >>> tt.negative(tt.asarray([1.0, -2.0]))
        Tensor([-1.,  2.], dtype=float32, device='numpy:cpu')
    """
    return xp.negative(x)


negative.derivatives(x=lambda xp, g, out, x: -g)


@operation(saves=Saves.NOTHING)
def positive(xp: Any, x: Tensor, /) -> Tensor:
    """``+x``, element-wise: a new Tensor with the values of x.

    Example:
        >>> tt.positive(tt.asarray([1.0, -2.0]))
        Tensor([ 1., -2.], dtype=float32, device='numpy:cpu')
    """
    return xp.positive(x)


positive.derivatives(x=lambda xp, g, out, x: g)


@operation
def abs(xp: Any, x: Tensor, /) -> Tensor:
    """Absolute value, element-wise. The derivative at 0 is defined as 0.

    Example:
        >>> tt.abs(tt.asarray([-1.5, 2.0]))
        Tensor([1.5, 2. ], dtype=float32, device='numpy:cpu')
    """
    return xp.abs(x)


def _abs_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    if is_complex(xp, x):
        return g * kinked(xp, xp.conj(xp.sign(x)), x, x == 0)
    return g * xp.sign(x)


abs.derivatives(x=_abs_rule)


@operation(saves=Saves.BOTH)
def sign(xp: Any, x: Tensor, /) -> Tensor:
    """Sign of x, element-wise: -1, 0 or 1. For complex x, ``x / abs(x)``, or 0 at 0, where the derivative is defined as 0.

    Example:
        >>> tt.sign(tt.asarray([-3.0, 0.0, 2.0]))
        Tensor([-1.,  0.,  1.], dtype=float32, device='numpy:cpu')
    """
    return xp.sign(x)


def _sign_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    if not is_complex(xp, x):
        return xp.zeros_like(g)
    size = xp.abs(x)
    zero = size == 0
    across = (g - xp.real(g * out) * xp.conj(out)) / xp.astype(xp.where(zero, xp.ones_like(size), size), x.dtype)
    return xp.where(zero, g * kinked(xp, xp.zeros_like(x), x, zero), across)


sign.derivatives(x=_sign_rule)


@operation(saves=Saves.OUTPUT)
def reciprocal(xp: Any, x: Tensor, /) -> Tensor:
    """``1 / x``, element-wise.

    Example:
        >>> tt.reciprocal(tt.asarray([2.0, -4.0]))
        Tensor([ 0.5 , -0.25], dtype=float32, device='numpy:cpu')
    """
    return xp.reciprocal(x)


reciprocal.derivatives(x=lambda xp, g, out, x: -g * (out * out))


@operation
def copysign(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """The magnitude of x1 with the sign of x2, element-wise.

    Example:
        >>> tt.copysign(tt.asarray([1.0, 2.0]), -1.0)
        Tensor([-1., -2.], dtype=float32, device='numpy:cpu')
    """
    return xp.copysign(x1, x2)


copysign.derivatives(
    x1=lambda xp, g, out, x1, x2: g * _same_sign(xp, g, x1, x2),
    x2=lambda xp, g, out, x1, x2: xp.zeros_like(g),
)


def _same_sign(xp: Any, g: Any, x1: Any, x2: Any) -> Any:
    """1 where x1 and x2 have the same sign, -1 where the signs differ; zeros are signed."""
    one = xp.ones_like(g)
    return xp.copysign(one, x1) * xp.copysign(one, x2)
