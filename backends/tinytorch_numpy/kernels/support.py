"""What the kernels of this folder share: which arrays they take, and how they cut large ones up.

BLAS is for matmuls only. Sums over rows would be a little faster as matmuls with a vector of ones, but BLAS spreads those over
threads too, and on a busy machine the wait for the other thread costs a hundred times what it saves. ``vecdot`` works in one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy

from tinytorch.backend.contract import Array
from tinytorch_numpy import threads

#: Elements that are worked on at once. A few buffers of this size stay in a core's cache from one pass to the next, and a pass is long
#: enough that starting it costs little.
CHUNK = 1 << 17

#: Multiplications of a matmul that is worth a second thread: a third of a millisecond of work.
_LARGE_MATMUL = 1 << 24

#: Numbers of a matrix from which OpenBLAS multiplies it by a vector in several threads.
_SPREAD = 460_800

#: Numbers of a matrix whose matmul with a vector is worth a second thread of ours: two milliseconds of reading.
_LARGE_WEIGHT = 1 << 23

_TYPES = (numpy.dtype(numpy.float32), numpy.dtype(numpy.float64))


def takes(*arrays: Any) -> bool:
    """Whether the arrays, but for those that are ``None``, are all of the first one's type, and that is float32 or float64.

    Others (16 bits, mixtures) are left to the portable version.
    """
    first = arrays[0].dtype
    for array in arrays:
        if array is not None and array.dtype != first:
            return False
    return first in _TYPES


def all_within(ids: Array, length: int) -> bool:
    """Whether all ``ids`` are in bounds: ``0 <= id < length``. What to do with others is left to the portable version."""
    return bool(ids.size == 0 or (ids.min() >= 0 and ids.max() < length))


def chunks(length: int, width: int = 1) -> Iterator[slice]:
    """Slices that cut ``length`` rows of ``width`` elements into chunks of about `CHUNK` elements."""
    step = max(1, CHUNK // max(1, width))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def matmul(a: Array, b: Array) -> Array:
    """``a (M, K) @ b (K, N)``, by all threads where it is large and they have nothing else to do."""
    if len(a) * b.size < _LARGE_MATMUL:
        return numpy.matmul(a, b)
    with threads.all_for_blas():
        return numpy.matmul(a, b)


def row_matmul(x: Array, weight: Array) -> Array:
    """``x (1, K) @ weight (N, K)^T``, as fast as the weight can be read from memory.

    ``vecdot`` reads half as fast again as OpenBLAS in one thread, and does not wait for another thread by spinning. What several cores
    can read beyond that is left to OpenBLAS, for matrices that it shares among its threads, and so are matrices that do not lie row by row.
    """
    if not weight.flags.c_contiguous or (weight.size >= _SPREAD and not threads.at_most_two()):
        return numpy.matmul(x, weight.T)
    out = numpy.empty((1, len(weight)), x.dtype)
    if weight.size < _LARGE_WEIGHT or threads.count() == 1:
        numpy.vecdot(weight, x, out=out[0])
    else:
        half = len(weight) // 2
        threads.run([partial(numpy.vecdot, weight[some], x, out=out[0, some]) for some in (slice(half), slice(half, None))])
    return out


def as_rows(x: Array, width: int) -> Array:
    """``x (..., width)`` as contiguous (N, width): what BLAS is fast on, which it is not on an array that was broadcast."""
    return numpy.ascontiguousarray(x).reshape(x.size // width if width else 0, width)
