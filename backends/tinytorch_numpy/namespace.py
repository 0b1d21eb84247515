"""What tinytorch uses beyond the standard, as numpy does it best."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import array_api_compat.numpy
import numpy

from tinytorch.backend.contract import Array

_FEW: Final = 16  #: rows of one index that are added in turns, all indices at once


def _add_rows(rows: Array, indices: Array, length: int) -> Array:
    """The sum of the (N, D) ``rows`` that belong to each of ``length`` indices: the derivative of taking rows.

    Where an index has few rows the first of all indices are added, then the second, and so on; where it has many, its own together.
    """
    if 1 <= rows.shape[1] <= 4 and rows.dtype.kind == "f":
        columns = [numpy.bincount(indices, column, length) for column in rows.T]  # in float64
        return numpy.stack(columns, axis=1).astype(rows.dtype, copy=False)
    sums = numpy.zeros((length, rows.shape[1]), rows.dtype)
    order = numpy.argsort(indices.astype(numpy.uint16) if length <= 65536 else indices, kind="stable")  # short numbers by their digits
    ordered = indices[order]
    starts = numpy.flatnonzero(numpy.diff(ordered, prepend=-1))
    counts = numpy.diff(starts, append=len(ordered))
    many = counts > _FEW
    for start, count in zip(starts[many].tolist(), counts[many].tolist(), strict=True):
        numpy.add.reduce(rows[order[start : start + count]], axis=0, out=sums[ordered[start]])
    starts, counts = starts[~many], counts[~many]
    for turn in range(int(counts.max(initial=0))):
        starts, counts = starts[counts > turn], counts[counts > turn]
        sums[ordered[starts]] += rows[order[starts + turn]]
    return sums


def _in_32_bits(reduce: Callable[..., Array]) -> Callable[..., Array]:
    """A sum that accumulates float16 in float32, as numpy's own do along some axes only."""

    def reduced(x: Array, /, *, dtype: Any = None, **options: Any) -> Array:
        if x.dtype.char != "e" or dtype not in (None, x.dtype):
            return reduce(x, dtype=dtype, **options)
        return reduce(x, dtype=numpy.float32, **options).astype(x.dtype)

    return reduced


#: Functions by name that numpy's namespace gets.
OWN: Final[dict[str, Callable[..., Any]]] = {
    "add_rows": _add_rows,
    "cumulative_sum": _in_32_bits(array_api_compat.numpy.cumulative_sum),  # type: ignore[attr-defined]
    "sum": _in_32_bits(partial(numpy.add.reduce, axis=None)),
}
