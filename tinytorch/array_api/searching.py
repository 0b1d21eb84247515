"""Searching, choosing and sorting."""

from __future__ import annotations

from typing import Any, Literal

from tinytorch.array_api.indexing import take_along_axis
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
    """Index of the first largest element."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


argmax.piecewise_constant()


@operation
def argmin(xp: Any, x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the first smallest element."""
    return xp.argmin(x, axis=axis, keepdims=keepdims)


argmin.piecewise_constant()


@operation
def nonzero(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    """Indices of the elements that are not zero, one Tensor a dimension."""
    return tuple(xp.nonzero(x))


nonzero.piecewise_constant()


@operation
def searchsorted(xp: Any, x1: Tensor, x2: Tensor, /, *, side: Literal["left", "right"] = "left", sorter: Tensor | None = None) -> Tensor:
    """Where each of x2 would have to be inserted into the sorted x1 to keep it sorted."""
    return xp.searchsorted(x1, x2, side=side, sorter=sorter)


searchsorted.piecewise_constant()


@operation(saves=Saves.OTHERS)
def where(xp: Any, condition: Tensor, x1: Tensor | complex, x2: Tensor | complex, /) -> Tensor:
    """x1 where ``condition`` holds, elsewhere x2; one of them may be a number."""
    if type(x1) in _NUMBERS and type(x2) in _NUMBERS:  # not numpy's, which may stand for an array of no dimensions
        raise TypeError("where: x1 or x2 must be a Tensor, which decides the type of the result; wrap one in tinytorch.asarray")
    return xp.where(condition, x1, x2)


where.derivatives(
    x1=lambda xp, g, out, condition, x1, x2: xp.where(condition, g, xp.zeros_like(g)),
    x2=lambda xp, g, out, condition, x1, x2: xp.where(condition, xp.zeros_like(g), g),
)


@operation
def argsort(xp: Any, x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort x along ``axis``."""
    return xp.argsort(x, axis=axis, descending=descending, stable=stable)


argsort.piecewise_constant()


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along ``axis``."""
    return take_along_axis(x, argsort(x, axis=axis, descending=descending, stable=stable), axis=axis)
