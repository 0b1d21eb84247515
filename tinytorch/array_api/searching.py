"""Searching, sorting and selecting elements."""

from __future__ import annotations

from typing import Any, Literal

from tinytorch.array_api.indexing import take_along_axis
from tinytorch.autograd.arguments import as_tensors
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "argmax",
    "argmin",
    "argsort",
    "nonzero",
    "searchsorted",
    "sort",
    "where",
]

_NUMBERS = (bool, int, float, complex)


@operation
def argmax(xp: Any, x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the maximum along ``axis``, or in the flattened Tensor; of the first one if several are equal.

    Example:
        >>> tt.argmax(tt.asarray([1.0, 3.0, 2.0]))
        Tensor(1, dtype=int64, device='numpy:cpu')
    """
    return xp.argmax(x, axis=axis, keepdims=keepdims)


argmax.piecewise_constant()


@operation
def argmin(xp: Any, x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the minimum along ``axis``, or in the flattened Tensor; of the first one if several are equal.

    Example:
        >>> tt.argmin(tt.asarray([1.0, 3.0, 0.5]))
        Tensor(2, dtype=int64, device='numpy:cpu')
    """
    return xp.argmin(x, axis=axis, keepdims=keepdims)


argmin.piecewise_constant()


@operation
def nonzero(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    """Indices of the nonzero elements: one 1-d Tensor per dimension.

    Example:
        >>> [i.tolist() for i in tt.nonzero(tt.asarray([[0, 1], [2, 0]]))]
        [[0, 1], [1, 0]]
    """
    return tuple(xp.nonzero(x))


nonzero.piecewise_constant()


@operation
def searchsorted(xp: Any, x1: Tensor, x2: Tensor, /, *, side: Literal["left", "right"] = "left", sorter: Tensor | None = None) -> Tensor:
    """Indices at which the elements of x2 must be inserted into the sorted x1 to keep it sorted.

    Example:
        >>> tt.searchsorted(tt.asarray([1.0, 2.0, 4.0]), tt.asarray([3.0, 0.0]))
        Tensor([2, 0], dtype=int64, device='numpy:cpu')
    """
    return xp.searchsorted(x1, x2, side=side, sorter=sorter)


searchsorted.piecewise_constant()


@operation(saves=Saves.OTHERS)
def where(xp: Any, condition: Tensor, x1: Tensor | complex, x2: Tensor | complex, /) -> Tensor:
    """Elements of x1 where ``condition`` is true, and of x2 elsewhere; x1 or x2 may be a number, but not both.

    Example:
        >>> tt.where(tt.asarray([True, False]), tt.asarray([1.0, 2.0]), 0.0)
        Tensor([1., 0.], dtype=float32, device='numpy:cpu')
    """
    if type(x1) in _NUMBERS and type(x2) in _NUMBERS:  # not numpy scalars, which may be converted 0-d arrays
        raise TypeError("where: x1 or x2 must be a Tensor, which determines the dtype of the result; convert one with tinytorch.asarray")
    return xp.where(condition, x1, x2)


where.derivatives(
    x1=lambda xp, g, out, condition, x1, x2: xp.where(condition, g, xp.zeros_like(g)),
    x2=lambda xp, g, out, condition, x1, x2: xp.where(condition, xp.zeros_like(g), g),
)


@operation
def argsort(xp: Any, x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Indices that sort x along ``axis``.

    Example:
        >>> tt.argsort(tt.asarray([3.0, 1.0, 2.0]))
        Tensor([1, 2, 0], dtype=int64, device='numpy:cpu')
    """
    return xp.argsort(x, axis=axis, descending=descending, stable=stable)


argsort.piecewise_constant()


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """x sorted along ``axis``.

    Example:
        >>> tt.sort(tt.asarray([3.0, 1.0, 2.0]), descending=True)
        Tensor([3., 2., 1.], dtype=float32, device='numpy:cpu')
    """
    (x,) = as_tensors("sort", x)
    return take_along_axis(x, argsort(x, axis=axis, descending=descending, stable=stable), axis=axis)
