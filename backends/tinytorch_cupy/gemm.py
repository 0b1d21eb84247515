"""Matrix products by cuBLAS, called directly.

cupy's own way to cuBLAS has three traps: N-dimensional ``matmul`` copies transposed operands, widens float16, knows no bfloat16 and ignores
the choice of TF32; and its wrappers call ``cublasSetStream``, which they refuse while a stream is being captured. Here a product reads
its operands where they lie, through transpose flags, leading dimensions and batch strides, on a handle with a workspace of its own, which
is what cuBLAS asks for where its calls are captured ("CUDA Graphs Support" in its manual).
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import product
from typing import Any, Final

from tinytorch.backend.contract import Array

#: cudaDataType_t, by the type of the elements.
DATA_TYPES: Final = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE_32F: Final = 68  # cublasComputeType_t: sums of 16-bit products are taken in float32 too
COMPUTE_64F: Final = 70
COMPUTE_32F_FAST_TF32: Final = 77
_DEFAULT_ALGORITHM: Final = -1  # CUBLAS_GEMM_DEFAULT, which uses tensor cores where they serve
_ALLOC_FAILED: Final = 3  # CUBLAS_STATUS_ALLOC_FAILED
_LARGEST: Final = 2**31 - 1  # sizes are C ints

#: More products than this in a row, and copying an operand so that one call does them all is cheaper.
_MOST_CALLS: Final = 32

_tf32: ContextVar[bool] = ContextVar("tinytorch_cupy_tf32", default=False)
_chosen: ContextVar[Blas | None] = ContextVar("tinytorch_cupy_blas", default=None)
_own = threading.local()


class BlasError(RuntimeError):
    """cuBLAS refused a call."""


class Blas:
    """A cuBLAS handle with its workspaces and rows of ones, for one thread on the current GPU.

    All of them live as long as the handle, so that a graph that was captured with it can go on using their addresses. Their memory is the
    default pool's, whatever allocator is in use: where that is another pool's, the memory may die with the pool.

    Args:
        cupy: the module.
        library: libcublas, as `load_library` gives it.
        workspace: bytes of scratch memory for products.
    """

    def __init__(self, cupy: Any, library: Any, workspace: int) -> None:
        self._handle = ctypes.c_void_p()  # first, as __del__ asks for it
        self._cupy = cupy
        self._library = library
        self._gpu = cupy.cuda.Device()
        self._pool = cupy.get_default_memory_pool()
        self._size = workspace
        self._workspaces: dict[int, Any] = {}  # by stream: two that run at once must not share one
        self._ones: dict[tuple[int, Any, int], Array] = {}  # by stream, type and length
        self._stream: int | None = None
        self._check("cublasCreate_v2", ctypes.byref(self._handle))

    def __del__(self) -> None:
        if self._handle.value:
            with self._gpu:
                self._library.cublasDestroy_v2(self._handle)

    def prepare(self) -> None:
        """Send what follows to the current stream. Changing the stream takes a workspace away, so it is given again."""
        stream = int(self._cupy.cuda.get_current_stream().ptr)
        if stream == self._stream:
            return
        if stream not in self._workspaces:
            self._workspaces[stream] = self._pool.malloc(self._size)
        self._check("cublasSetStream_v2", self._handle, stream)
        self._check("cublasSetWorkspace_v2", self._handle, int(self._workspaces[stream].ptr), self._size)
        self._stream = stream

    def ones(self, count: int, dtype: Any) -> Array:
        """A row of ones (1, count): the beginning of a longer one, of which there is one for each power of two."""
        key = (int(self._cupy.cuda.get_current_stream().ptr), dtype, 1 << (count - 1).bit_length())
        row = self._ones.get(key)
        if row is None:
            with self._cupy.cuda.using_allocator(self._pool.malloc):
                row = self._cupy.ones((1, key[2]), dtype="float32")  # cupy is not known to fill with bfloat16
                row = self._ones[key] = row.astype(dtype, copy=False)
        return row[:, :count]

    def multiply(self, a: Matrices, b: Matrices, c: Matrices, count: int, exact: bool) -> None:
        """``c = a @ b`` for ``count`` matrices, each a stride from the one before.

        cuBLAS reads memory by columns, so what lies there by rows is to it the transposed matrix: it is asked for ``c^T = b^T a^T``.
        """
        wide = c.type_name == "float64"
        one, zero = (_ONE64, _ZERO64) if wide else (_ONE, _ZERO)
        compute = COMPUTE_64F if wide else COMPUTE_32F
        if a.type_name == "float32" and _tf32.get() and not exact:
            compute = COMPUTE_32F_FAST_TF32
        self.prepare()
        head = (self._handle, int(b.flipped), int(a.flipped), c.columns, c.rows, a.columns, one)
        sides = [(side.pointer, DATA_TYPES[side.type_name], side.leading, side.stride) for side in (b, a, c)]
        if count == 1:
            left, right, out = (side[:3] for side in sides)
            self._check("cublasGemmEx", *head, *left, *right, zero, *out, compute, _DEFAULT_ALGORITHM)
        else:
            left4, right4, out4 = sides
            self._check("cublasGemmStridedBatchedEx", *head, *left4, *right4, zero, *out4, count, compute, _DEFAULT_ALGORITHM)

    def _check(self, name: str, *args: Any) -> None:
        status = getattr(self._library, name)(*args)
        if status == _ALLOC_FAILED:
            raise MemoryError(f"{name}: the GPU has no memory left for cuBLAS")
        if status:
            raise BlasError(f"{name} ended with status {status}")


class Matrices:
    """Equally shaped matrices in memory, as cuBLAS is told of them.

    Attributes:
        rows, columns: of each matrix.
        flipped: whether it lies by columns, and not by rows.
        leading: elements from one row, or column, to the next.
        stride: elements from one matrix to the next.
    """

    __slots__ = ("columns", "flipped", "leading", "pointer", "rows", "stride", "type_name")

    def __init__(self, array: Array, flipped: bool, leading: int, offset: int = 0, stride: int = 0) -> None:
        self.rows, self.columns = array.shape[-2:]
        self.flipped = flipped
        self.leading = leading
        self.stride = stride
        self.type_name = array.dtype.name
        self.pointer = int(array.data.ptr) + offset * array.dtype.itemsize


def layout(shape: Sequence[int], strides: Sequence[int]) -> tuple[bool, int] | None:
    """How a matrix with these strides, in elements, can be told to cuBLAS: whether it lies by columns, and its leading dimension.

    ``None`` where neither of its dimensions is without gaps.
    """
    rows, columns = shape
    down, across = strides
    if (columns == 1 or across == 1) and (rows == 1 or down >= columns):
        return False, down if rows > 1 else columns
    if (rows == 1 or down == 1) and (columns == 1 or across >= rows):
        return True, across if columns > 1 else rows
    return None


def matmul(a: Array, b: Array, exact: bool = False) -> Array:
    """The standard's ``matmul`` for cupy arrays.

    Args:
        a, b: float16, bfloat16, float32 or float64, both of one type; other types, and mixtures, are left to cupy.
        exact: whether float32 is multiplied as such even where TF32 was chosen.
    """
    cupy = _cupy()
    if a.ndim == 0 or b.ndim == 0 or a.dtype != b.dtype or a.dtype.name not in DATA_TYPES:
        return cupy.matmul(a, b)
    row, column = a.ndim == 1, b.ndim == 1
    if row or column:
        found = matmul(a[None, :] if row else a, b[:, None] if column else b, exact)
        found = found[..., 0, :] if row else found
        return found[..., 0] if column else found
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul needs (..., n, k) and (..., k, m), got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    if b.ndim == 2 and a.ndim > 2 and _is_packed(a):  # one product of many rows, and not many products
        rows = math.prod(a.shape[:-1])
        return matmul(a.reshape(rows, a.shape[-1]), b, exact).reshape(*a.shape[:-1], b.shape[1])
    batch = _broadcast(a.shape[:-2], b.shape[:-2])
    out = cupy.empty((*batch, a.shape[-2], b.shape[-1]), dtype=a.dtype)
    if out.size == 0:
        return out
    if a.shape[-1] == 0:
        out.fill(0)
        return out
    if max(*out.shape[-2:], a.shape[-1], math.prod(batch)) > _LARGEST:
        return cupy.matmul(a, b)
    _product(cupy, a, b, out, batch, exact)
    return out


def column_sums(x: Array) -> Array:
    """The sum of each column of ``x (N, M)``: (M), taken in float32 at least, as a product with a row of ones."""
    return matmul(current().ones(x.shape[0], x.dtype), x, exact=True)[0]


def _product(cupy: Any, a: Array, b: Array, out: Array, batch: tuple[int, ...], exact: bool) -> None:
    a, b = (x if _layout_of(x) is not None else cupy.ascontiguousarray(x) for x in (a, b))
    calls, dims = _plan(batch, a, b, out)
    if calls > _MOST_CALLS:
        a, b = cupy.ascontiguousarray(a), cupy.ascontiguousarray(b)
        calls, dims = _plan(batch, a, b, out)
    *loops, inner = dims or [(1, (0, 0, 0))]
    blas = current()
    layouts = [found for x in (a, b, out) if (found := _layout_of(x)) is not None]
    for place in product(*[range(size) for size, _ in loops]):
        sides = [
            Matrices(x, *layouts[i], sum(at * strides[i] for at, (_, strides) in zip(place, loops, strict=True)), inner[1][i])
            for i, x in enumerate((a, b, out))
        ]
        left, right, into = sides
        blas.multiply(left, right, into, inner[0], exact)


def _plan(batch: tuple[int, ...], a: Array, b: Array, out: Array) -> tuple[int, list[tuple[int, tuple[int, ...]]]]:
    """How many calls it takes, and the batch's dimensions with their strides in a, b and out, the one that a call goes along last.

    Neighbours that lie behind each other without gaps in all three are one dimension.
    """
    strides = list(zip(*[_batch_strides(x, len(batch)) for x in (a, b, out)], strict=True))
    merged: list[tuple[int, tuple[int, ...]]] = []
    for size, here in zip(batch, strides, strict=True):
        if size == 1:
            continue
        if merged and all(before == inside * size for before, inside in zip(merged[-1][1], here, strict=True)):
            merged[-1] = (merged[-1][0] * size, here)
        else:
            merged.append((size, here))
    merged.sort(key=lambda dim: dim[0])
    return math.prod(size for size, _ in merged[:-1]), merged


def _batch_strides(x: Array, dims: int) -> list[int]:
    """Strides of the batch's dimensions in elements, 0 where x is broadcast."""
    extra = dims - (x.ndim - 2)
    own = zip(x.shape[:-2], x.strides[:-2], strict=True)
    return [0] * extra + [0 if size == 1 else stride // x.dtype.itemsize for size, stride in own]


def _layout_of(x: Array) -> tuple[bool, int] | None:
    found = layout(x.shape[-2:], [stride // x.dtype.itemsize for stride in x.strides[-2:]])
    return None if found is None or found[1] > _LARGEST else found


def _is_packed(x: Array) -> bool:
    """Whether all dimensions but the last can be one without a copy."""
    return bool(x.flags.c_contiguous)


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(one), len(other))
    pairs = list(zip((1,) * (length - len(one)) + one, (1,) * (length - len(other)) + other, strict=True))
    if any(x != y and 1 not in (x, y) for x, y in pairs):
        raise ValueError(f"matmul cannot broadcast batches of shape {one} and {other}")
    return tuple(y if x == 1 else x for x, y in pairs)


# ---- which handle ----


def current() -> Blas:
    """The handle that `using` chose, or else this thread's own on the current GPU."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    cupy = _cupy()
    number = int(cupy.cuda.runtime.getDevice())
    handles: dict[int, Blas] = _own.__dict__.setdefault("handles", {})
    if number not in handles:
        handles[number] = new_blas(cupy)
    return handles[number]


def new_blas(cupy: Any) -> Blas:
    """A handle for the current GPU."""
    hopper = int(cupy.cuda.Device().compute_capability) >= 90
    return Blas(cupy, load_library(cupy), workspace=(32 if hopper else 8) * 2**20)  # as cuBLAS advises


@contextmanager
def using(blas: Blas) -> Iterator[None]:
    """Multiply with ``blas`` inside a ``with`` block: while a graph is captured it has a handle to itself."""
    token = _chosen.set(blas)
    try:
        yield
    finally:
        _chosen.reset(token)


@contextmanager
def tf32() -> Iterator[None]:
    """Multiply float32 in TF32, with 10 bits of mantissa, inside a ``with`` block."""
    token = _tf32.set(True)
    try:
        yield
    finally:
        _tf32.reset(token)


def load_library(cupy: Any) -> Any:
    """libcublas, the very copy that cupy uses. Raises ``ImportError`` or ``OSError`` where there is none.

    It is known by the CUDA version that cupy is built for, and not by cuda-pathfinder, which finds the newest that is installed.
    """
    from cupy_backends.cuda.libs import cublas  # noqa: F401  is linked with it, so that from here on its name finds what is loaded

    major = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
    return declared(ctypes.CDLL(f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"))


def declared(library: Any) -> Any:
    """The library with the types of the functions that are called, so that ctypes converts plain numbers."""
    pointer, integer, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
    side, batched = [pointer, integer, integer], [pointer, integer, integer, long]
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
    import cupy  # here, so that this file can be read where there is no GPU

    return cupy


_ONE, _ZERO = (ctypes.byref(ctypes.c_float(x)) for x in (1.0, 0.0))
_ONE64, _ZERO64 = (ctypes.byref(ctypes.c_double(x)) for x in (1.0, 0.0))
