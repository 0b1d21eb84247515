"""What the kernels of this folder share: which arrays they take, and how they cut large ones up.

BLAS is for matrix products only. Sums over rows would be a little faster as products with a vector of ones, but BLAS spreads those over
threads too, and on a busy machine the wait for the other thread costs a hundred times what it saves. ``vecdot`` works in one thread.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from tinytorch.backend.contract import Array
from tinytorch_numpy import threads

#: Elements that are worked on at once. A few buffers of this size stay in a core's cache from one pass to the next, and a pass is long
#: enough that starting it costs little.
CHUNK = 1 << 17

#: Multiplications of a product that is worth a second thread: a third of a millisecond of work.
_LARGE_PRODUCT = 1 << 24

_TYPES = (numpy.dtype(numpy.float32), numpy.dtype(numpy.float64))


def takes(*arrays: Array | None) -> bool:
    """Whether the arrays are all of one type, float32 or float64. Others (16 bits, mixtures) are left to the portable kernels."""
    types = {array.dtype for array in arrays if array is not None}
    return len(types) == 1 and types.pop() in _TYPES


def all_within(ids: Array, length: int) -> bool:
    """Whether all of the whole numbers ``ids`` are places among ``length``. What to do with others is left to the portable kernels."""
    return bool(ids.size == 0 or (ids.min() >= 0 and ids.max() < length))


def chunks(length: int, width: int = 1) -> Iterator[slice]:
    """Slices that cut ``length`` rows of ``width`` elements into pieces of about `CHUNK` elements."""
    step = max(1, CHUNK // max(1, width))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def product(a: Array, b: Array) -> Array:
    """``a (M, K) @ b (K, N)``, by all threads where it is large and they have nothing else to do."""
    if len(a) * b.size < _LARGE_PRODUCT:
        return numpy.matmul(a, b)
    with threads.all_for_blas():
        return numpy.matmul(a, b)


def as_rows(x: Array, width: int) -> Array:
    """``x (..., width)`` as contiguous (N, width): what BLAS is fast on, which it is not on an array that was broadcast."""
    return numpy.ascontiguousarray(x).reshape(x.size // width if width else 0, width)
