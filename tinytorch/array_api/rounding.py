"""Element-wise rounding functions. Their derivative is 0 wherever it exists."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.arithmetic import Number
from tinytorch.autograd.operation import operation
from tinytorch.tensor import Tensor

__all__ = [
    "ceil",
    "floor",
    "floor_divide",
    "nextafter",
    "round",
    "trunc",
]


@operation
def floor_divide(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """Largest integer less than or equal to ``x1 / x2``, element-wise.

    Example:
        >>> tt.floor_divide(tt.asarray([5.0, -5.0]), 2.0)
        Tensor([ 2., -3.], dtype=float32, device='numpy:cpu')
    """
    return xp.floor_divide(x1, x2)


floor_divide.piecewise_constant()


@operation
def floor(xp: Any, x: Tensor, /) -> Tensor:
    """Largest integer less than or equal to x, element-wise.

    Example:
        >>> tt.floor(tt.asarray([1.7, -1.2]))
        Tensor([ 1., -2.], dtype=float32, device='numpy:cpu')
    """
    return xp.floor(x)


floor.piecewise_constant()


@operation
def ceil(xp: Any, x: Tensor, /) -> Tensor:
    """Smallest integer greater than or equal to x, element-wise.

    Example:
        >>> tt.ceil(tt.asarray([1.2, -1.7]))
        Tensor([ 2., -1.], dtype=float32, device='numpy:cpu')
    """
    return xp.ceil(x)


ceil.piecewise_constant()


@operation
def round(xp: Any, x: Tensor, /) -> Tensor:
    """Nearest integer, element-wise; halves are rounded to the even integer.

    Example:
        >>> tt.round(tt.asarray([0.5, 1.5, -1.7]))
        Tensor([ 0.,  2., -2.], dtype=float32, device='numpy:cpu')
    """
    return xp.round(x)


round.piecewise_constant()


@operation
def trunc(xp: Any, x: Tensor, /) -> Tensor:
    """x rounded to an integer toward 0, element-wise.

    Example:
        >>> tt.trunc(tt.asarray([1.7, -1.7]))
        Tensor([ 1., -1.], dtype=float32, device='numpy:cpu')
    """
    return xp.trunc(x)


trunc.piecewise_constant()


@operation
def nextafter(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """The next representable floating-point number after x1 in the direction of x2, element-wise.

    Example:
        >>> tt.nextafter(tt.asarray([1.0]), 2.0) > 1.0
        Tensor([ True], dtype=bool, device='numpy:cpu')
    """
    return xp.nextafter(x1, x2)


nextafter.no_derivative("it depends on the spacing of floating-point numbers and is not a function of real numbers")
