"""Bounds checks of indices, with the same IndexError on every backend."""

from __future__ import annotations

from typing import Any

from tinytorch.tensor import Tensor


def check_bounds(x: Tensor, parts: tuple[Any, ...]) -> None:
    """Raise ``IndexError`` if an index among ``parts``, the key of ``x[key]``, is out of bounds (JAX would clamp it)."""
    shape, axis = x.shape, 0
    for part in parts:
        if part is ...:
            axis += len(shape) - sum(_axes_indexed(other) for other in parts if other is not ...)
            continue
        if type(part) is int:
            if axis < len(shape) and not -shape[axis] <= part < shape[axis]:
                raise _error(x, axis, part)
            axis += 1
            continue
        if isinstance(part, Tensor) and axis < len(shape) and not _is_mask(part):
            check_indices(x, axis, part)
        axis += _axes_indexed(part)


def _axes_indexed(part: Any) -> int:
    """Number of axes of x that one part of a key, other than ``...``, consumes."""
    if part is None or type(part) is bool:
        return 0
    return part.ndim if _is_mask(part) else 1


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype.kind == "bool"


def check_indices(x: Tensor, axis: int, indices: Tensor) -> None:
    """Raise ``IndexError`` if an element of ``indices`` is out of bounds, for array libraries that do not raise."""
    wrong = x.backend.out_of_bounds(indices.raw, x.shape[axis])
    if wrong is not None:
        raise _error(x, axis % x.ndim, wrong)


def _error(x: Tensor, axis: int, index: int) -> IndexError:
    return IndexError(f"index {index} is out of bounds for axis {axis} of shape {tuple(x.shape)}")
