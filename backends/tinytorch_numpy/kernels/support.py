"""Helpers of the kernels: which arrays they support, chunks of large arrays, and matmuls.

BLAS is used for matmuls only. Row sums would be slightly faster as matmuls with a vector of ones, but BLAS would run those in several
threads, and on a busy machine waiting for the other thread costs a hundred times what it saves. ``vecdot`` uses one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy

from tinytorch.backend.contract import Array
from tinytorch_numpy import threads

#: Elements in a chunk. A few buffers of this size fit a core's cache, and a pass over one is long compared with the overhead of a call.
CHUNK = 1 << 17

#: A matmul with at least this many multiplications (a third of a millisecond) runs in several threads.
_MIN_PARALLEL_MATMUL = 1 << 24

#: From this size of the matrix on, OpenBLAS computes matrix-vector products in several threads.
_BLAS_THREADED_SIZE = 460_800

#: From this size of the matrix on, `row_matmul` uses a second thread: reading it takes two milliseconds.
_MIN_PARALLEL_WEIGHT = 1 << 23

_DTYPES = (numpy.dtype(numpy.float32), numpy.dtype(numpy.float64))


def supports(*arrays: Any) -> bool:
    """Whether all arrays that are not ``None`` have the same dtype, float32 or float64.

    For other calls (16 bits, mixed dtypes) the portable version runs.
    """
    first = arrays[0].dtype
    for array in arrays:
        if array is not None and array.dtype != first:
            return False
    return first in _DTYPES


def all_in_bounds(ids: Array, length: int) -> bool:
    """Whether ``0 <= id < length`` for all ``ids``. Otherwise the portable version runs, which returns NaN for other ids."""
    return bool(ids.size == 0 or (ids.min() >= 0 and ids.max() < length))


def chunks(length: int, width: int = 1) -> Iterator[slice]:
    """Yield slices that divide ``length`` rows of ``width`` elements into chunks of about `CHUNK` elements."""
    step = max(1, CHUNK // max(1, width))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def matmul(a: Array, b: Array) -> Array:
    """``a (M, K) @ b (K, N)``, in all threads if it is large and they are idle."""
    if len(a) * b.size < _MIN_PARALLEL_MATMUL:
        return numpy.matmul(a, b)
    with threads.all_for_blas():
        return numpy.matmul(a, b)


def row_matmul(x: Array, weight: Array) -> Array:
    """``x (1, K) @ weight (N, K)^T``, limited by memory bandwidth.

    In one thread, ``vecdot`` reads memory 1.5 times as fast as OpenBLAS, and it does not wait for other threads by spinning. OpenBLAS is
    used for large matrices with more than two threads, and for matrices that are not contiguous.
    """
    if not weight.flags.c_contiguous or (weight.size >= _BLAS_THREADED_SIZE and not threads.at_most_two()):
        return numpy.matmul(x, weight.T)
    out = numpy.empty((1, len(weight)), x.dtype)
    if weight.size < _MIN_PARALLEL_WEIGHT or threads.count() == 1:
        numpy.vecdot(weight, x, out=out[0])
    else:
        half = len(weight) // 2
        threads.run([partial(numpy.vecdot, weight[part], x, out=out[0, part]) for part in (slice(half), slice(half, None))])
    return out


def as_rows(x: Array, width: int) -> Array:
    """``x (..., width)`` as contiguous (N, width). BLAS would be slow with a broadcast array."""
    return numpy.ascontiguousarray(x).reshape(x.size // width if width else 0, width)
