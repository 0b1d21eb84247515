"""What the standard has and PyTorch, behind array-api-compat, has not or does in another way."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import array_api_compat.torch
import torch

_SIGNED: Final = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}

Axis = int | tuple[int, ...] | None


def _unique_all(x: torch.Tensor, /) -> tuple[torch.Tensor, ...]:
    """`unique_all`, which PyTorch has not: the first index of each value is missing there."""
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    places = torch.arange(x.numel(), device=x.device)
    indices = torch.full(values.shape, x.numel(), device=x.device).scatter_reduce(0, inverse.reshape(-1), places, "amin")
    return values, indices, inverse, counts


def _var(x: torch.Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> torch.Tensor:
    """`var`, of which PyTorch takes only whole corrections, and warns where there is nothing."""
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    size = math.prod(x.shape[a] for a in axes)
    if x.numel() == 0:
        return torch.sum(x, dim=axes, keepdim=keepdims) * math.nan
    variance = torch.var(x, dim=axes, correction=0, keepdim=keepdims) if axes else x - x
    return variance * (size / max(0.0, size - correction)) if size > correction else variance * math.nan


def _std(x: torch.Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> torch.Tensor:
    return torch.sqrt(_var(x, axis=axis, correction=correction, keepdims=keepdims))


def _with_index_errors(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """``function`` with an ``IndexError``, as PyTorch's own indexing has it, in place of a ``RuntimeError`` about indices out of bounds."""

    @wraps(function)
    def checked(*args: Any, **options: Any) -> torch.Tensor:
        try:
            return function(*args, **options)
        except RuntimeError as error:
            if "bounds" not in str(error):
                raise
            raise IndexError(str(error)) from None

    return checked


@_with_index_errors
def _take_along_axis(x: torch.Tensor, indices: torch.Tensor, /, *, axis: int = -1) -> torch.Tensor:
    """`take_along_axis` with indices of any integer type, and of the unsigned types that PyTorch takes elements of in few places.

    Not by ``take_along_dim``, which takes indices that are out of bounds modulo the length.
    """
    if x.dtype in _SIGNED:
        return _take_along_axis(x.view(_SIGNED[x.dtype]), indices, axis=axis).view(x.dtype)
    axis %= x.ndim
    indices = indices.long()
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    common_shape: Any = torch.broadcast_shapes  # which has no types
    rest = common_shape(*[(*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in (x, indices)])
    x, indices = [array.expand(*rest[:axis], array.shape[axis], *rest[axis + 1 :]) for array in (x, indices)]
    return torch.gather(x, axis, indices)


def _add_rows(rows: torch.Tensor, indices: torch.Tensor, length: int) -> torch.Tensor:
    """The sum of the (N, D) ``rows`` that belong to each of ``length`` indices: the derivative of taking rows."""
    return rows.new_zeros((length, rows.shape[1])).index_add_(0, indices, rows)


#: By the standard's names, and one that tinytorch has for itself.
OVERRIDES: Final[dict[str, Callable[..., Any]]] = {
    "add_rows": _add_rows,
    "std": _std,
    "take": _with_index_errors(array_api_compat.torch.take),
    "take_along_axis": _take_along_axis,
    "unique_all": _unique_all,
    "var": _var,
}
