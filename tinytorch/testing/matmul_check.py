"""Compare the matmul of a backend with numpy's on the host, for all memory layouts of the operands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy

from tinytorch.backend import Backend
from tinytorch.testing.kernel_cases import Draw
from tinytorch.testing.kernel_check import LAYOUTS, MATMUL, TOLERANCE, KernelCheck, Progress, relative_error, timed_check, to_float64

#: Rows, columns of the first operand, and columns of the second.
_SIZES: Final = [(5, 7, 3), (1, 1, 1), (1, 65, 2), (33, 1, 19), (129, 67, 130)]

#: Batch shapes of the operands.
_BATCHES: Final = [((3,), (3,)), ((3,), ()), ((), (3,)), ((3,), (1,)), ((2, 3), (3,)), ((2, 1), (2, 3)), ((1,), (2, 3))]


def _transposed(backend: Backend, x: Any, dtype: str) -> Any:
    """``x`` on the device, each matrix in column-major order."""
    axes = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return backend.xp.permute_dims(backend.from_host(numpy.ascontiguousarray(x.transpose(axes)), dtype), axes)


def _columns_of_wider(backend: Backend, x: Any, dtype: str) -> Any:
    """``x`` as a range of columns of a wider array, such as the queries in packed queries, keys and values."""
    return backend.from_host(numpy.concatenate([x, x, x], axis=-1), dtype)[..., x.shape[-1] : 2 * x.shape[-1]]


def _batch_after_rows(backend: Backend, x: Any, dtype: str) -> Any:
    """``x (..., B, M, N)``, stored as (..., M, B, N), such as the heads of attention."""
    if x.ndim < 3:
        return backend.from_host(x, dtype)
    axes = (*range(x.ndim - 3), x.ndim - 2, x.ndim - 3, x.ndim - 1)
    return backend.xp.permute_dims(backend.from_host(numpy.ascontiguousarray(x.transpose(axes)), dtype), axes)


#: Functions that copy a host array of two or more axes to the device.
_LAYOUTS: Final[list[Callable[[Backend, Any, str], Any]]] = [
    LAYOUTS["contiguous"],
    LAYOUTS["every_second"],
    _transposed,
    _columns_of_wider,
    _batch_after_rows,
]


def check_matmul(backend: Backend, dtype: str, progress: Progress | None = None) -> KernelCheck:
    """Compare ``backend.xp.matmul`` with numpy's, for transposed, sliced, strided, batched and broadcast operands.

    Args:
        backend: the backend.
        dtype: float32, float64, float16 or bfloat16.
        progress: called after each matmul with their number.

    Returns:
        The result, for the kernel ``"matmul"``.

    Example:
        >>> tt.testing.check_matmul(tt.get_backend("numpy"), "float64").failure is None
        True
    """
    return timed_check(MATMUL, dtype, partial(_compare, backend, dtype), progress)


def _compare(backend: Backend, dtype: str) -> Iterator[float]:
    draw = Draw("float64")
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((rows, inner), (inner, columns)) for rows, inner, columns in _SIZES]
    shapes += [((*left, 5, 7), (*right, 7, 3)) for left, right in _BATCHES]
    for left, right in shapes:
        operands = [draw(*left), draw(*right)]
        expected = numpy.matmul(*[to_float64(backend.to_host(backend.from_host(x, dtype))) for x in operands])
        # each operand in every layout, while the other one is contiguous, and both in the same layout
        copies = [[layout(backend, x, dtype) for layout in _LAYOUTS] for x in operands]
        pairs = [*zip(*copies, strict=True), *[(a, copies[1][0]) for a in copies[0][1:]], *[(copies[0][0], b) for b in copies[1][1:]]]
        for a, b in pairs:
            yield relative_error(to_float64(backend.to_host(backend.xp.matmul(a, b))), expected, TOLERANCE[dtype])
