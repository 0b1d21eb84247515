"""Functions that replace or extend numpy's Array API namespace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import array_api_compat.numpy
import numpy

from tinytorch.backend.contract import Array

_FEW: Final = 16  #: indices with at most this many rows are summed in rounds, see `_add_rows`


def _add_rows(rows: Array, indices: Array, length: int) -> Array:
    """Scatter-add: sum the (N, D) ``rows`` by index into (length, D). It is the gradient of a gather of rows.

    Indices with few rows are summed in rounds: round ``r`` adds the r-th row of every index at once. Rows of other indices are summed by
    one call of ``sum`` per index.
    """
    if 1 <= rows.shape[1] <= 4 and rows.dtype.kind == "f":
        columns = [numpy.bincount(indices, column, length) for column in rows.T]  # in float64
        return numpy.stack(columns, axis=1).astype(rows.dtype, copy=False)
    sums = numpy.zeros((length, rows.shape[1]), rows.dtype)
    order = numpy.argsort(
        indices.astype(numpy.uint16) if length <= 65536 else indices, kind="stable"
    )  # numpy uses radix sort for 16-bit integers
    ordered = indices[order]
    starts = numpy.flatnonzero(numpy.diff(ordered, prepend=-1))
    counts = numpy.diff(starts, append=len(ordered))
    many = counts > _FEW
    for start, count in zip(starts[many].tolist(), counts[many].tolist(), strict=True):
        numpy.add.reduce(rows[order[start : start + count]], axis=0, out=sums[ordered[start]])
    starts, counts = starts[~many], counts[~many]
    for r in range(int(counts.max(initial=0))):
        starts, counts = starts[counts > r], counts[counts > r]
        sums[ordered[starts]] += rows[order[starts + r]]
    return sums


def _accumulate_in_float32(reduce: Callable[..., Array]) -> Callable[..., Array]:
    """A sum that accumulates float16 in float32. numpy itself does so along some axes only."""

    def reduced(x: Array, /, *, dtype: Any = None, **options: Any) -> Array:
        if x.dtype.char != "e" or dtype not in (None, x.dtype):
            return reduce(x, dtype=dtype, **options)
        return reduce(x, dtype=numpy.float32, **options).astype(x.dtype)

    return reduced


def _sigmoid(x: Array) -> Array:
    """The logistic function, in place in one new array: every further temporary would make it slower by a half."""
    out = numpy.empty_like(x)
    numpy.exp(numpy.minimum(x, 40.0, out=out), out=out)  # from 40 on the result is 1
    return numpy.divide(out, 1.0 + out, out=out)


#: Functions, by name, that replace or extend those of array_api_compat.numpy.
OVERRIDES: Final[dict[str, Callable[..., Any]]] = {
    "add_rows": _add_rows,
    "cumulative_sum": _accumulate_in_float32(array_api_compat.numpy.cumulative_sum),  # type: ignore[attr-defined]
    "sigmoid": _sigmoid,
    "sum": _accumulate_in_float32(partial(numpy.add.reduce, axis=None)),
}
