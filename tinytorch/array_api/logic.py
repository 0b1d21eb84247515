"""Element-wise comparisons, logical and bitwise functions. Their results are booleans or integers, so the graph does not record them."""

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
    """``x1 == x2``, element-wise.

    Example:
        >>> tt.equal(tt.asarray([1, 2]), 2)
        Tensor([False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.equal(x1, x2)


@operation
def not_equal(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 != x2``, element-wise.

    Example:
        >>> tt.not_equal(tt.asarray([1, 2]), 2)
        Tensor([ True, False], dtype=bool, device='numpy:cpu')
    """
    return xp.not_equal(x1, x2)


@operation
def less(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 < x2``, element-wise.

    Example:
        >>> tt.less(tt.asarray([1, 2]), 2)
        Tensor([ True, False], dtype=bool, device='numpy:cpu')
    """
    return xp.less(x1, x2)


@operation
def less_equal(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 <= x2``, element-wise.

    Example:
        >>> tt.less_equal(tt.asarray([1, 2]), 1)
        Tensor([ True, False], dtype=bool, device='numpy:cpu')
    """
    return xp.less_equal(x1, x2)


@operation
def greater(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 > x2``, element-wise.

    Example:
        >>> tt.greater(tt.asarray([1, 2]), 1)
        Tensor([False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.greater(x1, x2)


@operation
def greater_equal(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 >= x2``, element-wise.

    Example:
        >>> tt.greater_equal(tt.asarray([1, 2]), 2)
        Tensor([False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.greater_equal(x1, x2)


@operation
def logical_and(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """Logical AND of two boolean Tensors, element-wise.

    Example:
        >>> tt.logical_and(tt.asarray([True, True]), tt.asarray([True, False]))
        Tensor([ True, False], dtype=bool, device='numpy:cpu')
    """
    return xp.logical_and(x1, x2)


@operation
def logical_or(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """Logical OR of two boolean Tensors, element-wise.

    Example:
        >>> tt.logical_or(tt.asarray([True, False]), tt.asarray([False, False]))
        Tensor([ True, False], dtype=bool, device='numpy:cpu')
    """
    return xp.logical_or(x1, x2)


@operation
def logical_xor(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """Logical XOR of two boolean Tensors, element-wise.

    Example:
        >>> tt.logical_xor(tt.asarray([True, True]), tt.asarray([True, False]))
        Tensor([False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.logical_xor(x1, x2)


@operation
def bitwise_and(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 & x2`` of integers or booleans, element-wise.

    Example:
        >>> tt.bitwise_and(tt.asarray([6, 3]), 2)
        Tensor([2, 2], dtype=int64, device='numpy:cpu')
    """
    return xp.bitwise_and(x1, x2)


@operation
def bitwise_or(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 | x2`` of integers or booleans, element-wise.

    Example:
        >>> tt.bitwise_or(tt.asarray([4, 1]), 2)
        Tensor([6, 3], dtype=int64, device='numpy:cpu')
    """
    return xp.bitwise_or(x1, x2)


@operation
def bitwise_xor(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 ^ x2`` of integers or booleans, element-wise.

    Example:
        >>> tt.bitwise_xor(tt.asarray([6, 3]), 2)
        Tensor([4, 1], dtype=int64, device='numpy:cpu')
    """
    return xp.bitwise_xor(x1, x2)


@operation
def bitwise_left_shift(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 << x2`` of integers, element-wise.

    Example:
        >>> tt.bitwise_left_shift(tt.asarray([1, 3]), 2)
        Tensor([ 4, 12], dtype=int64, device='numpy:cpu')
    """
    return xp.bitwise_left_shift(x1, x2)


@operation
def bitwise_right_shift(xp: Any, x1: Scalar, x2: Scalar, /) -> Tensor:
    """``x1 >> x2`` of integers, element-wise.

    Example:
        >>> tt.bitwise_right_shift(tt.asarray([4, 12]), 2)
        Tensor([1, 3], dtype=int64, device='numpy:cpu')
    """
    return xp.bitwise_right_shift(x1, x2)


@operation
def logical_not(xp: Any, x: Tensor, /) -> Tensor:
    """Logical NOT of a boolean Tensor, element-wise.

    Example:
        >>> tt.logical_not(tt.asarray([True, False]))
        Tensor([False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.logical_not(x)


@operation
def bitwise_invert(xp: Any, x: Tensor, /) -> Tensor:
    """``~x`` of integers or booleans, element-wise.

    Example:
        >>> tt.bitwise_invert(tt.asarray([0, 5]))
        Tensor([-1, -6], dtype=int64, device='numpy:cpu')
    """
    return xp.bitwise_invert(x)


@operation
def isfinite(xp: Any, x: Tensor, /) -> Tensor:
    """Whether x is neither infinite nor NaN, element-wise.

    Example:
        >>> tt.isfinite(tt.asarray([1.0, tt.inf, tt.nan]))
        Tensor([ True, False, False], dtype=bool, device='numpy:cpu')
    """
    return xp.isfinite(x)


@operation
def isinf(xp: Any, x: Tensor, /) -> Tensor:
    """Whether x is infinite, element-wise.

    Example:
        >>> tt.isinf(tt.asarray([1.0, tt.inf, tt.nan]))
        Tensor([False,  True, False], dtype=bool, device='numpy:cpu')
    """
    return xp.isinf(x)


@operation
def isnan(xp: Any, x: Tensor, /) -> Tensor:
    """Whether x is NaN, element-wise.

    Example:
        >>> tt.isnan(tt.asarray([1.0, tt.inf, tt.nan]))
        Tensor([False, False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.isnan(x)


@operation
def signbit(xp: Any, x: Tensor, /) -> Tensor:
    """Whether the sign bit of x is set, element-wise; true for -0.0.

    Example:
        >>> tt.signbit(tt.asarray([1.0, -0.0]))
        Tensor([False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.signbit(x)


for _function in list(globals().values()):
    if isinstance(_function, Operation):
        _function.piecewise_constant()
