"""A fake cuBLAS for machines without a GPU: matmuls on raw pointers, in column-major order, as in cuBLAS's manual.

The entry points are C functions with the signatures of ``cublas_api.h``, so that argument types and order, leading dimensions, strides and
type codes are tested as well.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int, c_longlong, c_size_t, c_void_p
from itertools import count as numbers
from typing import Any

import ml_dtypes
import numpy

from tests.backends.tinytorch_cupy.fake_runtime import Gpu, Machine

SUCCESS, NOT_INITIALIZED, INVALID_VALUE, NOT_SUPPORTED = 0, 1, 7, 15
TYPES = {0: numpy.dtype("float32"), 1: numpy.dtype("float64"), 2: numpy.dtype("float16"), 14: numpy.dtype(ml_dtypes.bfloat16)}
#: For each compute type, the pairs of types of A and B, and of C, that cublasGemmEx supports (table in its manual).
SUPPORTED = {
    68: {(0, 0), (2, 2), (2, 0), (14, 14), (14, 0)},
    77: {(0, 0)},
    70: {(1, 1)},
}


def _view(pointer: int, code: int, rows: int, columns: int, leading: int) -> numpy.ndarray:
    """The column-major matrix (rows, columns) at ``pointer``."""
    kind = TYPES[code]
    count = (columns - 1) * leading + rows
    memory = (ctypes.c_char * (count * kind.itemsize)).from_address(pointer)
    flat = numpy.frombuffer(memory, dtype=kind)
    return numpy.lib.stride_tricks.as_strided(flat, (rows, columns), (kind.itemsize, leading * kind.itemsize))


def _rounded(x: numpy.ndarray) -> numpy.ndarray:
    """Round to TF32: 10 bits of mantissa."""
    bits = x.astype(numpy.float32).view(numpy.uint32)
    return ((bits + numpy.uint32(0x1000)) & numpy.uint32(0xFFFFE000)).view(numpy.float32)


class FakeBlas:
    """Replaces ``ctypes.CDLL("libcublas.so")``: a matmul is a launch on the current fake GPU.

    Attributes:
        calls: parameters of each matmul, as dictionaries.
        handles: the GPU of each existing handle.
        stream, workspace: the last values that were set; setting a stream resets the workspace, as in cuBLAS.
        refused: codes of the types of A that it does not support.
        refusals: number of calls that it did not support.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.handles: dict[int, Gpu] = {}
        self._numbers = numbers(1)
        self.calls: list[dict[str, Any]] = []
        self.stream: int | None = None
        self.workspace: int | None = None
        self.refused: set[int] = set()
        self.refusals = 0
        side, batched = (c_void_p, c_int, c_int), (c_void_p, c_int, c_int, c_longlong)
        head = (c_void_p, c_int, c_int, c_int, c_int, c_int, c_void_p)
        self.cublasCreate_v2 = self._entry(self._create, c_void_p)
        self.cublasDestroy_v2 = self._entry(self._destroy, c_void_p)
        self.cublasSetStream_v2 = self._entry(self._set_stream, c_void_p, c_void_p)
        self.cublasSetWorkspace_v2 = self._entry(self._set_workspace, c_void_p, c_void_p, c_size_t)
        self.cublasGemmEx = self._entry(self._gemm, *head, *side, *side, c_void_p, *side, c_int, c_int)
        self.cublasGemmStridedBatchedEx = self._entry(self._batched, *head, *batched, *batched, c_void_p, *batched, c_int, c_int, c_int)

    @staticmethod
    def _entry(function: Callable[..., int], *types: Any) -> Any:
        return ctypes.CFUNCTYPE(c_int, *types)(function)

    def _is_usable(self, handle: int | None) -> bool:
        """Whether the handle exists and belongs to the current GPU."""
        return handle is not None and self.handles.get(handle) is self._machine.gpu

    def _create(self, place: int) -> int:
        handle = next(self._numbers)
        self.handles[handle] = self._machine.gpu
        ctypes.cast(place, ctypes.POINTER(c_void_p))[0] = handle
        return SUCCESS

    def _destroy(self, handle: int) -> int:
        self._machine.gpu.invalidate("a cuBLAS handle was destroyed")
        if not self._is_usable(handle):
            return NOT_INITIALIZED
        del self.handles[handle]
        return SUCCESS

    def _set_stream(self, handle: int, stream: int | None) -> int:
        self.stream, self.workspace = stream or 0, None
        return SUCCESS if self._is_usable(handle) else NOT_INITIALIZED

    def _set_workspace(self, handle: int, pointer: int, size: int) -> int:
        self.workspace = pointer
        return SUCCESS if self._is_usable(handle) and pointer % 256 == 0 and size else INVALID_VALUE

    def _gemm(self, *a: Any) -> int:
        return self._batched(*a[:10], 0, *a[10:13], 0, *a[13:17], 0, 1, *a[17:])

    def _batched(
        self,
        handle: int,
        op_a: int,
        op_b: int,
        m: int,
        n: int,
        k: int,
        alpha: int,
        a: int,
        type_a: int,
        lda: int,
        stride_a: int,
        b: int,
        type_b: int,
        ldb: int,
        stride_b: int,
        beta: int,
        c: int,
        type_c: int,
        ldc: int,
        stride_c: int,
        count: int,
        compute: int,
        algorithm: int,
    ) -> int:
        shape_a = (k, m) if op_a else (m, k)
        shape_b = (n, k) if op_b else (k, n)
        if not self._is_usable(handle):
            return NOT_INITIALIZED
        if lda < max(1, shape_a[0]) or ldb < max(1, shape_b[0]) or ldc < max(1, m) or min(m, n, k, count) < 1:
            return INVALID_VALUE
        if type_a != type_b or (type_a, type_c) not in SUPPORTED.get(compute, ()) or algorithm != -1:
            return NOT_SUPPORTED
        if type_a in self.refused or (type_a == 2 and count > 65535 and int(self._machine.gpu.capability) < 80):
            self.refusals += 1
            return NOT_SUPPORTED
        to_float64 = numpy.float64 if compute == 70 else numpy.float32
        scale = ctypes.c_double if compute == 70 else ctypes.c_float
        if scale.from_address(alpha).value != 1.0 or scale.from_address(beta).value != 0.0:
            return INVALID_VALUE
        self.calls.append({"ops": (op_a, op_b), "size": (m, n, k), "count": count, "compute": compute, "stream": self.stream})
        gpu = self._machine.gpu
        gpu.note(*[pointer for pointer in (a, b, c, self.workspace) if pointer is not None])

        def work() -> None:
            for i in range(count):
                left, right = (
                    _view(start + i * stride * TYPES[code].itemsize, code, *shape, leading)
                    for start, code, shape, leading, stride in (
                        (a, type_a, shape_a, lda, stride_a),
                        (b, type_b, shape_b, ldb, stride_b),
                    )
                )
                x, y = (left.T if op_a else left).astype(to_float64), (right.T if op_b else right).astype(to_float64)
                if compute == 77:
                    x, y = _rounded(x), _rounded(y)
                _view(c + i * stride_c * TYPES[type_c].itemsize, type_c, m, n, ldc)[...] = x @ y

        gpu.do(work)
        return SUCCESS
