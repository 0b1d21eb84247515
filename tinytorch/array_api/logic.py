"""Element-wise functions whose results are truth values or whole numbers, so that nothing of them is recorded."""

from __future__ import annotations

from typing import Any

from tinytorch.autograd.operation import Operation, operation
from tinytorch.tensor import Tensor

__all__ = [
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "equal",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "signbit",
]

Scalar = Tensor | bool | int | float | complex


@operation
def equal(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 == x2, element by element."""
    return xp.equal(x1, x2)


@operation
def not_equal(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 != x2, element by element."""
    return xp.not_equal(x1, x2)


@operation
def less(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 < x2, element by element."""
    return xp.less(x1, x2)


@operation
def less_equal(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 <= x2, element by element."""
    return xp.less_equal(x1, x2)


@operation
def greater(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 > x2, element by element."""
    return xp.greater(x1, x2)


@operation
def greater_equal(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 >= x2, element by element."""
    return xp.greater_equal(x1, x2)


@operation
def logical_and(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 and x2, element by element."""
    return xp.logical_and(x1, x2)


@operation
def logical_or(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 or x2, element by element."""
    return xp.logical_or(x1, x2)


@operation
def logical_xor(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """Exactly one of x1 and x2, element by element."""
    return xp.logical_xor(x1, x2)


@operation
def bitwise_and(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 & x2, element by element."""
    return xp.bitwise_and(x1, x2)


@operation
def bitwise_or(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 | x2, element by element."""
    return xp.bitwise_or(x1, x2)


@operation
def bitwise_xor(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 ^ x2, element by element."""
    return xp.bitwise_xor(x1, x2)


@operation
def bitwise_left_shift(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 << x2, element by element."""
    return xp.bitwise_left_shift(x1, x2)


@operation
def bitwise_right_shift(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """x1 >> x2, element by element."""
    return xp.bitwise_right_shift(x1, x2)


@operation
def logical_not(xp: Any, x: Tensor, /) -> Tensor:
    """not x, element by element."""
    return xp.logical_not(x)


@operation
def bitwise_invert(xp: Any, x: Tensor, /) -> Tensor:
    """~x, element by element."""
    return xp.bitwise_invert(x)


@operation
def isfinite(xp: Any, x: Tensor, /) -> Tensor:
    """Whether x is neither infinite nor NaN, element by element."""
    return xp.isfinite(x)


@operation
def isinf(xp: Any, x: Tensor, /) -> Tensor:
    """Whether x is infinite, element by element."""
    return xp.isinf(x)


@operation
def isnan(xp: Any, x: Tensor, /) -> Tensor:
    """Whether x is NaN, element by element."""
    return xp.isnan(x)


@operation
def signbit(xp: Any, x: Tensor, /) -> Tensor:
    """Whether the sign of x is set, element by element."""
    return xp.signbit(x)


for _function in list(globals().values()):
    if isinstance(_function, Operation):
        _function.piecewise_constant()
