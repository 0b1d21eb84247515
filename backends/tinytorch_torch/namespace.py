"""Functions of the standard that array-api-compat's PyTorch namespace lacks or implements differently."""

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
    """`unique_all`, which PyTorch lacks: its ``unique`` does not return first indices."""
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    positions = torch.arange(x.numel(), device=x.device)
    indices = torch.full(values.shape, x.numel(), device=x.device).scatter_reduce(0, inverse.reshape(-1), positions, "amin")
    return values, indices, inverse, counts


def _var(x: torch.Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> torch.Tensor:
    """`var`; PyTorch supports only integer corrections, and warns for empty inputs."""
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    size = math.prod(x.shape[a] for a in axes)
    if x.numel() == 0:
        return torch.sum(x, dim=axes, keepdim=keepdims) * math.nan
    variance = torch.var(x, dim=axes, correction=0, keepdim=keepdims) if axes else x - x
    return variance * (size / max(0.0, size - correction)) if size > correction else variance * math.nan


def _std(x: torch.Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> torch.Tensor:
    return torch.sqrt(_var(x, axis=axis, correction=correction, keepdims=keepdims))


def _with_index_errors(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Make ``function`` raise ``IndexError`` for out-of-bounds indices, as PyTorch's indexing does, instead of ``RuntimeError``."""

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
    """`take_along_axis` for indices of any integer dtype, and for arrays of unsigned dtypes, which ``gather`` does not support.

    ``take_along_dim`` is not used, because it wraps out-of-bounds indices.
    """
    if x.dtype in _SIGNED:
        return _take_along_axis(x.view(_SIGNED[x.dtype]), indices, axis=axis).view(x.dtype)
    axis %= x.ndim
    indices = indices.long()
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    common_shape: Any = torch.broadcast_shapes  # it has no type annotations
    rest = common_shape(*[(*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in (x, indices)])
    x, indices = [array.expand(*rest[:axis], array.shape[axis], *rest[axis + 1 :]) for array in (x, indices)]
    return torch.gather(x, axis, indices)


def _add_rows(rows: torch.Tensor, indices: torch.Tensor, length: int) -> torch.Tensor:
    """Scatter-add: sum the (N, D) ``rows`` by index into (length, D). It is the gradient of a gather of rows."""
    return rows.new_zeros((length, rows.shape[1])).index_add_(0, indices, rows)


#: By the standard's names, and tinytorch's own `add_rows`.
OVERRIDES: Final[dict[str, Callable[..., Any]]] = {
    "add_rows": _add_rows,
    "std": _std,
    "take": _with_index_errors(array_api_compat.torch.take),
    "take_along_axis": _take_along_axis,
    "unique_all": _unique_all,
    "var": _var,
}
