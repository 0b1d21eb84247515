"""Matrix multiplication with cuBLAS, called directly through ctypes.

cupy's ``matmul`` copies transposed operands of more than two dimensions, converts float16 to float32, has no bfloat16 and ignores the
choice of TF32. cupy's wrappers of cuBLAS also call ``cublasSetStream``, and refuse to during capture. Here a matmul reads its operands
without copies, through transpose flags, leading dimensions and batch strides. The handle has its own workspace, which cuBLAS requires for
captured calls ("CUDA Graphs Support" in its manual).
"""

from __future__ import annotations

import ctypes
import logging
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import product
from typing import Any, Final

from tinytorch.backend.contract import Array

#: cudaDataType_t, by dtype.
DATA_TYPES: Final = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE_32F: Final = 68  # cublasComputeType_t; 16-bit matmuls accumulate in float32 too
COMPUTE_64F: Final = 70
COMPUTE_32F_FAST_TF32: Final = 77
_DEFAULT_ALGORITHM: Final = -1  # CUBLAS_GEMM_DEFAULT, which uses tensor cores where possible
_ALLOC_FAILED: Final = 3  # CUBLAS_STATUS_ALLOC_FAILED
_NOT_SUPPORTED: Final = 15  # CUBLAS_STATUS_NOT_SUPPORTED
_INT_MAX: Final = 2**31 - 1  # sizes are C ints

#: If a matmul needs more calls than this, its operands are copied so that one call is enough.
_MAX_CALLS: Final = 32

#: Matrices per call before compute capability 8.0, where float16 batches of more than 65,535 give NaN or fail (PyTorch issue 45724).
#: It is a multiple of 1024, so that every call starts at an address with the same alignment.
_MAX_BATCH_BEFORE_AMPERE: Final = 63 * 1024

_log: Final = logging.getLogger("tinytorch")
_tf32: ContextVar[bool] = ContextVar("tinytorch_cupy_tf32", default=False)
_blas_override: ContextVar[Blas | None] = ContextVar("tinytorch_cupy_blas", default=None)
_thread_local = threading.local()

#: 16-bit matmuls that cuBLAS does not support, by GPU, dtype, shapes and strides. Each is tried once, at the latest by a graph's warm-up.
_computed_in_float32: set[tuple[Any, ...]] = set()


class BlasError(RuntimeError):
    """A cuBLAS call returned an error status."""


class NotSupportedByBlasError(BlasError):
    """cuBLAS has no implementation for these types, sizes and layouts on this GPU."""


class Blas:
    """A cuBLAS handle with its workspaces and vectors of ones, for one thread on the current GPU.

    These buffers live as long as the handle, because a captured graph contains their addresses. They are always allocated from the default
    memory pool: memory of another pool may be freed with that pool.

    Args:
        cupy: the module.
        library: libcublas, as returned by `load_library`.
        workspace: size of the workspace in bytes.
    """

    def __init__(self, cupy: Any, library: Any, workspace: int) -> None:
        self._handle = ctypes.c_void_p()  # first, because __del__ reads it
        self._cupy = cupy
        self._library = library
        self._gpu = cupy.cuda.Device()
        self._max_batch = _INT_MAX if int(self._gpu.compute_capability) >= 80 else _MAX_BATCH_BEFORE_AMPERE
        self._pool = cupy.get_default_memory_pool()
        self._size = workspace
        self._workspaces: dict[int, Any] = {}  # by stream: concurrent streams must not share a workspace
        self._ones: dict[tuple[int, Any, int], Array] = {}  # by stream, dtype and length
        self._stream: int | None = None
        self._check("cublasCreate_v2", ctypes.byref(self._handle))

    def __del__(self) -> None:
        if self._handle.value:
            with self._gpu:
                self._library.cublasDestroy_v2(self._handle)

    def prepare(self) -> None:
        """Set the handle's stream to the current one. cublasSetStream resets the workspace, so that is set again."""
        stream = int(self._cupy.cuda.get_current_stream().ptr)
        if stream == self._stream:
            return
        if stream not in self._workspaces:
            self._workspaces[stream] = self._pool.malloc(self._size)
        self._check("cublasSetStream_v2", self._handle, stream)
        self._check("cublasSetWorkspace_v2", self._handle, int(self._workspaces[stream].ptr), self._size)
        self._stream = stream

    def ones(self, count: int, dtype: Any) -> Array:
        """Ones of shape (1, count), a view of a cached array whose length is a power of two."""
        key = (int(self._cupy.cuda.get_current_stream().ptr), dtype, 1 << (count - 1).bit_length())
        row = self._ones.get(key)
        if row is None:
            with self._cupy.cuda.using_allocator(self._pool.malloc):
                row = self._cupy.ones((1, key[2]), dtype="float32")  # then converted: cupy may not support filling bfloat16
                row = self._ones[key] = row.astype(dtype, copy=False)
        return row[:, :count]

    def multiply(self, a: Matrices, b: Matrices, c: Matrices, count: int, exact: bool) -> None:
        """Compute ``c = a @ b`` for a batch of ``count`` matrices, one batch stride apart.

        cuBLAS uses column-major order, in which a row-major matrix is its transpose. So it computes ``c^T = b^T a^T``.
        """
        is_float64 = c.type_name == "float64"
        one, zero = (_ONE64, _ZERO64) if is_float64 else (_ONE, _ZERO)
        compute = COMPUTE_64F if is_float64 else COMPUTE_32F
        if a.type_name == "float32" and _tf32.get() and not exact:
            compute = COMPUTE_32F_FAST_TF32
        self.prepare()
        head = (self._handle, int(b.column_major), int(a.column_major), c.columns, c.rows, a.columns, one)
        for start in range(0, count, self._max_batch):
            operands = [(side.at(start), DATA_TYPES[side.type_name], side.leading, side.stride) for side in (b, a, c)]
            size = min(count - start, self._max_batch)
            if size == 1:
                left, right, out = (side[:3] for side in operands)
                self._check("cublasGemmEx", *head, *left, *right, zero, *out, compute, _DEFAULT_ALGORITHM)
            else:
                left4, right4, out4 = operands
                self._check("cublasGemmStridedBatchedEx", *head, *left4, *right4, zero, *out4, size, compute, _DEFAULT_ALGORITHM)

    def _check(self, name: str, *args: Any) -> None:
        status = getattr(self._library, name)(*args)
        if status == _ALLOC_FAILED:
            raise MemoryError(f"{name}: out of GPU memory for cuBLAS")
        if status == _NOT_SUPPORTED:
            raise NotSupportedByBlasError(f"{name} failed with status {status}, not supported")
        if status:
            raise BlasError(f"{name} failed with status {status}")


class Matrices:
    """A strided batch of matrices, as described to cuBLAS.

    Attributes:
        rows, columns: shape of each matrix.
        column_major: whether the matrices are stored in column-major order.
        leading: leading dimension: elements from one row, or column, to the next.
        stride: elements from one matrix to the next.
    """

    __slots__ = ("column_major", "columns", "item_size", "leading", "pointer", "rows", "stride", "type_name")

    def __init__(self, array: Array, column_major: bool, leading: int, offset: int = 0, stride: int = 0) -> None:
        self.rows, self.columns = array.shape[-2:]
        self.column_major = column_major
        self.leading = leading
        self.stride = stride
        self.type_name = array.dtype.name
        self.item_size = int(array.dtype.itemsize)
        self.pointer = int(array.data.ptr) + offset * self.item_size

    def at(self, index: int) -> int:
        """The address of a matrix of the batch."""
        return self.pointer + index * self.stride * self.item_size


def layout(shape: Sequence[int], strides: Sequence[int]) -> tuple[bool, int] | None:
    """cuBLAS's description of a matrix with these strides, in elements: whether it is column-major, and its leading dimension.

    Returns ``None`` if neither axis is contiguous.
    """
    rows, columns = shape
    row_stride, column_stride = strides
    if (columns == 1 or column_stride == 1) and (rows == 1 or row_stride >= columns):
        return False, row_stride if rows > 1 else columns
    if (rows == 1 or row_stride == 1) and (columns == 1 or column_stride >= rows):
        return True, column_stride if columns > 1 else rows
    return None


def matmul(a: Array, b: Array, exact: bool = False) -> Array:
    """The standard's ``matmul`` for cupy arrays.

    Args:
        a, b: float16, bfloat16, float32 or float64, both of the same dtype. Other dtypes, and mixed ones, use cupy's matmul.
        exact: whether to multiply float32 in full precision, even inside `tf32`.
    """
    cupy = _cupy()
    if a.ndim == 0 or b.ndim == 0 or a.dtype != b.dtype or a.dtype.name not in DATA_TYPES:
        return cupy.matmul(a, b)
    row, column = a.ndim == 1, b.ndim == 1
    if row or column:
        result = matmul(a[None, :] if row else a, b[:, None] if column else b, exact)
        result = result[..., 0, :] if row else result
        return result[..., 0] if column else result
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: expected shapes (..., n, k) and (..., k, m), got {tuple(a.shape)} and {tuple(b.shape)}")
    if b.ndim == 2 and a.ndim > 2 and _is_packed(a):  # one matmul with many rows, instead of a batch
        rows = math.prod(a.shape[:-1])
        return matmul(a.reshape(rows, a.shape[-1]), b, exact).reshape(*a.shape[:-1], b.shape[1])
    batch = _broadcast(a.shape[:-2], b.shape[:-2])
    out = cupy.empty((*batch, a.shape[-2], b.shape[-1]), dtype=a.dtype)
    if out.size == 0:
        return out
    if a.shape[-1] == 0:
        out.fill(0)
        return out
    if max(*out.shape[-2:], a.shape[-1], math.prod(batch)) > _INT_MAX:
        return cupy.matmul(a, b)
    if a.dtype.itemsize == 2:
        return _multiply_16_bit(cupy, a, b, out, batch, exact)
    _multiply_batch(cupy, a, b, out, batch, exact)
    return out


def _multiply_16_bit(cupy: Any, a: Array, b: Array, out: Array, batch: tuple[int, ...], exact: bool) -> Array:
    """Multiply into ``out`` or, if cuBLAS does not support these 16-bit operands on this GPU, in float32. Returns the result."""
    key = (int(cupy.cuda.runtime.getDevice()), a.dtype.name, a.shape, a.strides, b.shape, b.strides)
    if key not in _computed_in_float32:
        try:
            _multiply_batch(cupy, a, b, out, batch, exact)
            return out
        except NotSupportedByBlasError as error:
            _log.info("%s for %s %s and %s; this matmul is computed in float32", error, a.dtype.name, tuple(a.shape), tuple(b.shape))
            _computed_in_float32.add(key)
    wide = cupy.empty(out.shape, dtype="float32")
    _multiply_batch(cupy, a.astype("float32"), b.astype("float32"), wide, batch, exact=True)
    return wide.astype(out.dtype)


def column_sums(x: Array) -> Array:
    """Sum of each column of ``x (N, M)``: (M). It is a matmul with a vector of ones, accumulated in at least float32."""
    return matmul(current().ones(x.shape[0], x.dtype), x, exact=True)[0]


def _multiply_batch(cupy: Any, a: Array, b: Array, out: Array, batch: tuple[int, ...], exact: bool) -> None:
    a, b = (x if _layout_of(x) is not None else cupy.ascontiguousarray(x) for x in (a, b))
    calls, dims = _plan(batch, a, b, out)
    if calls > _MAX_CALLS:
        a, b = cupy.ascontiguousarray(a), cupy.ascontiguousarray(b)
        calls, dims = _plan(batch, a, b, out)
    *loops, inner = dims or [(1, (0, 0, 0))]
    blas = current()
    layouts = [result for x in (a, b, out) if (result := _layout_of(x)) is not None]
    for index in product(*[range(size) for size, _ in loops]):
        operands = [
            Matrices(x, *layouts[i], sum(at * strides[i] for at, (_, strides) in zip(index, loops, strict=True)), inner[1][i])
            for i, x in enumerate((a, b, out))
        ]
        left, right, into = operands
        blas.multiply(left, right, into, inner[0], exact)


def _plan(batch: tuple[int, ...], a: Array, b: Array, out: Array) -> tuple[int, list[tuple[int, tuple[int, ...]]]]:
    """Number of cuBLAS calls, and the batch dimensions as (size, strides in a, b and out). Each call covers the last of them.

    Adjacent batch dimensions that are contiguous in all three arrays are merged.
    """
    strides = list(zip(*[_batch_strides(x, len(batch)) for x in (a, b, out)], strict=True))
    merged: list[tuple[int, tuple[int, ...]]] = []
    for size, own_strides in zip(batch, strides, strict=True):
        if size == 1:
            continue
        if merged and all(outer == inner_stride * size for outer, inner_stride in zip(merged[-1][1], own_strides, strict=True)):
            merged[-1] = (merged[-1][0] * size, own_strides)
        else:
            merged.append((size, own_strides))
    merged.sort(key=lambda dim: dim[0])
    return math.prod(size for size, _ in merged[:-1]), merged


def _batch_strides(x: Array, dims: int) -> list[int]:
    """Strides of the batch dimensions in elements, 0 where x is broadcast."""
    extra = dims - (x.ndim - 2)
    batch_axes = zip(x.shape[:-2], x.strides[:-2], strict=True)
    return [0] * extra + [0 if size == 1 else stride // x.dtype.itemsize for size, stride in batch_axes]


def _layout_of(x: Array) -> tuple[bool, int] | None:
    result = layout(x.shape[-2:], [stride // x.dtype.itemsize for stride in x.strides[-2:]])
    return None if result is None or result[1] > _INT_MAX else result


def _is_packed(x: Array) -> bool:
    """Whether all axes but the last can be merged without a copy."""
    return bool(x.flags.c_contiguous)


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(one), len(other))
    pairs = list(zip((1,) * (length - len(one)) + one, (1,) * (length - len(other)) + other, strict=True))
    if any(x != y and 1 not in (x, y) for x, y in pairs):
        raise ValueError(f"matmul cannot broadcast batches of shape {one} and {other}")
    return tuple(y if x == 1 else x for x, y in pairs)


# ---- handles ----


def current() -> Blas:
    """The handle set by `using`, or this thread's handle for the current GPU."""
    override = _blas_override.get()
    if override is not None:
        return override
    cupy = _cupy()
    number = int(cupy.cuda.runtime.getDevice())
    handles: dict[int, Blas] = _thread_local.__dict__.setdefault("handles", {})
    if number not in handles:
        handles[number] = new_blas(cupy)
    return handles[number]


def new_blas(cupy: Any) -> Blas:
    """Create a handle on the current GPU."""
    hopper = int(cupy.cuda.Device().compute_capability) >= 90
    return Blas(cupy, load_library(cupy), workspace=(32 if hopper else 8) * 2**20)  # sizes recommended by cuBLAS


@contextmanager
def using(blas: Blas) -> Iterator[None]:
    """Use the handle ``blas`` inside a ``with`` block. A graph is captured with its own handle."""
    token = _blas_override.set(blas)
    try:
        yield
    finally:
        _blas_override.reset(token)


@contextmanager
def tf32() -> Iterator[None]:
    """Multiply float32 matrices in TF32 (10 bits of mantissa) inside a ``with`` block."""
    token = _tf32.set(True)
    try:
        yield
    finally:
        _tf32.reset(token)


def load_library(cupy: Any) -> Any:
    """Load libcublas, the same library that cupy uses. Raises ``ImportError`` or ``OSError`` if it is not found.

    The file name follows from the CUDA version that cupy is built for. cuda-pathfinder would find the newest installed version instead.
    """
    from cupy_backends.cuda.libs import cublas  # noqa: F401  loads libcublas, so that CDLL finds it by name

    major = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
    return declared(ctypes.CDLL(f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"))


def declared(library: Any) -> Any:
    """Declare argument types of the library's functions, so that ctypes converts Python numbers."""
    pointer, integer, int64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
    side, batched = [pointer, integer, integer], [pointer, integer, integer, int64]
    head = [pointer, integer, integer, integer, integer, integer, pointer]
    types = {
        "cublasCreate_v2": [pointer],
        "cublasDestroy_v2": [pointer],
        "cublasSetStream_v2": [pointer, pointer],
        "cublasSetWorkspace_v2": [pointer, pointer, ctypes.c_size_t],
        "cublasGemmEx": [*head, *side, *side, pointer, *side, integer, integer],
        "cublasGemmStridedBatchedEx": [*head, *batched, *batched, pointer, *batched, integer, integer, integer],
    }
    for name, arguments in types.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, integer
    return library


def _cupy() -> Any:
    import cupy  # not at module level, so that this module can be imported without cupy

    return cupy


_ONE, _ZERO = (ctypes.byref(ctypes.c_float(x)) for x in (1.0, 0.0))
_ONE64, _ZERO64 = (ctypes.byref(ctypes.c_double(x)) for x in (1.0, 0.0))
