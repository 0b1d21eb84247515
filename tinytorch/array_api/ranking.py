"""The largest or smallest elements, which the standard does not have."""

from __future__ import annotations

from typing import NamedTuple

from tinytorch.array_api.indexing import take_along_axis
from tinytorch.array_api.searching import argsort
from tinytorch.tensor import Tensor

__all__ = ["topk"]


class TopKResult(NamedTuple):
    """Result of `topk`: the largest (or smallest) elements, and their indices."""

    values: Tensor
    indices: Tensor


def topk(x: Tensor, /, k: int, *, axis: int = -1, largest: bool = True) -> TopKResult:
    """The ``k`` largest elements along ``axis``, in descending order, and their indices; NaN counts as the largest.

    Args:
        x: at least 1-d, real.
        k: number of elements, at most the size of the axis.
        axis: the axis to search.
        largest: false for the smallest elements, in ascending order.

    Returns:
        values and indices, both with size ``k`` along ``axis``. Of equal elements the first is returned first.

    Raises:
        ValueError: ``k`` is negative, or larger than the axis.

    Example:
        >>> values, indices = tt.topk(tt.asarray([1.0, 3.0, 2.0]), 2)
        >>> values.tolist(), indices.tolist()
        ([3.0, 2.0], [1, 2])
    """
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"topk: a Tensor of shape {x.shape} has no axis {axis}")
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: `k` must be between 0 and the size of axis {axis}, {x.shape[axis]}, got {k}")
    order = argsort(x, axis=axis, descending=largest, stable=True)
    indices = order[tuple(slice(0, k) if i == axis % x.ndim else slice(None) for i in range(x.ndim))]
    return TopKResult(take_along_axis(x, indices, axis=axis), indices)
