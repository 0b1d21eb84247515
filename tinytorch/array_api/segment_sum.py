"""Sums of rows that have the same index: the gradient of a gather."""

from __future__ import annotations

from functools import partial
from typing import Any

from tinytorch.array_api.precision import in_32_bits
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def segment_sum(xp: Any, rows: Any, indices: Any, length: int) -> Any:
    """For each index from 0 to ``length - 1``, the sum of the ``rows`` with that index, like ``jax.ops.segment_sum``.

    Args:
        xp: the namespace of the arrays, which are raw arrays or Tensors.
        rows: (N, D).
        indices: (N,) integers; negative ones count from the end.
        length: number of sums.

    Returns:
        (length, D).
    """
    return _segment_sum(rows, indices, length) if isinstance(rows, Tensor) else _segment_sum.forward(xp, rows, indices, length)


@operation(saves=Saves.OTHERS)
def _segment_sum(xp: Any, rows: Tensor, indices: Tensor, length: int, /) -> Tensor:
    """See `segment_sum`. A plugin's namespace may define a faster ``add_rows``, since the standard has no such function."""
    if rows.shape[0] == 0:
        return xp.zeros((length, *rows.shape[1:]), dtype=rows.dtype)
    indices = xp.where(indices < 0, indices + length, indices)
    add = getattr(xp, "add_rows", partial(_segment_sum_by_doubling, xp))
    return in_32_bits(xp, lambda rows: add(rows, indices, length), rows)


_segment_sum.derivatives(rows=lambda xp, g, out, rows, indices, length: xp.take(g, indices, axis=0))


def _segment_sum_by_doubling(xp: Any, rows: Any, indices: Any, length: int) -> Any:
    """`segment_sum` with functions of the standard: sort the rows by index, then sum each segment by doubling.

    Blelloch 1990, *Prefix Sums*, section 1.5. A product with a one-hot matrix or differences of a cumulative sum would be faster, but NaN,
    infinity or rounding errors of one row would affect all other sums.
    """
    count = rows.shape[0]
    order = xp.argsort(indices, stable=True)
    ordered, sums = xp.take(indices, order, axis=0), xp.take(rows, order, axis=0)
    offset = 1
    while offset < count:  # sums[i]: the sum of up to ``offset`` rows from i on that have the same index
        same = (ordered[offset:] == ordered[:-offset])[:, None]
        later = sums[offset:, ...]
        sums = xp.concat([sums[:-offset, ...] + xp.where(same, later, xp.zeros_like(later)), sums[-offset:, ...]], axis=0)
        offset *= 2
    segments = xp.arange(length, dtype=indices.dtype)
    first = xp.clip(xp.searchsorted(ordered, segments, side="left"), 0, count - 1)
    found = xp.take(sums, first, axis=0)
    return xp.where((xp.take(ordered, first, axis=0) == segments)[:, None], found, xp.zeros_like(found))
