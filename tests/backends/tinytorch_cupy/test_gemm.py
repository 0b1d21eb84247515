"""Matmuls through cuBLAS, called by real cupy's arrays: on the emulated CUDA it reads raw column-major memory."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import ml_dtypes
import numpy
import pytest

from tests.emulated_cuda import hooks
from tinytorch.ops import linear as portable
from tinytorch_cupy import gemm
from tinytorch_cupy.kernels import KERNELS

TYPES = {"float16": numpy.float16, "bfloat16": ml_dtypes.bfloat16, "float32": numpy.float32, "float64": numpy.float64}
CLOSE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-12}


class Bench:
    """Random arrays on the emulated GPU, and the matmuls that it has computed."""

    def __init__(self, gpu: SimpleNamespace) -> None:
        self.cupy = gpu.cupy
        self.backend = gpu.backend
        self.random = numpy.random.default_rng(0)

    def array(self, *shape: int, dtype: str = "float32") -> Any:
        return self.cupy.array(self.random.normal(size=shape).astype(TYPES[dtype]))

    def calls(self) -> list[dict[str, int]]:
        """The matmuls since the last call of this method."""
        return hooks.matmuls()


@pytest.fixture
def gpu(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(gemm, "_thread_local", gemm.threading.local())
    return Bench(gpu)


def size(call: dict[str, int]) -> tuple[int, int, int]:
    return call["m"], call["n"], call["k"]


def assert_matmul(result: Any, a: Any, b: Any, tolerance: float = 1e-5) -> None:
    expected = a.get().astype(numpy.float64) @ b.get().astype(numpy.float64)
    assert result.shape == expected.shape
    numpy.testing.assert_allclose(result.get().astype(numpy.float64), expected, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_transposed_operands_are_not_copied(gpu: Bench, dtype: str, left: bool, right: bool) -> None:
    a = gpu.array(5, 3, dtype=dtype).T if left else gpu.array(3, 5, dtype=dtype)
    b = gpu.array(4, 5, dtype=dtype).T if right else gpu.array(5, 4, dtype=dtype)
    result = gemm.matmul(a, b)
    assert result.dtype == a.dtype
    assert_matmul(result, a, b, CLOSE[dtype])
    (call,) = gpu.calls()
    assert (call["op_a"], call["op_b"]) == (int(right), int(left))  # cuBLAS computes the transposed matmul
    assert size(call) == (4, 3, 5)


def test_a_column_slice_is_not_copied(gpu: Bench) -> None:
    to_float64 = gpu.array(6, 12)
    a, b = to_float64[:, 4:8], gpu.array(4, 3)
    launched = hooks.launches()
    result = gemm.matmul(a, b)
    assert hooks.launches() == launched + 1  # only the matmul
    assert_matmul(result, a, b)
    assert len(gpu.calls()) == 1


@pytest.mark.parametrize("shapes", [((1, 4), (4, 1)), ((1, 1), (1, 1)), ((3, 1), (1, 4)), ((1, 5), (5, 3))])
def test_rows_and_columns_of_one_element(gpu: Bench, shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    a, b = gpu.array(*shapes[0]), gpu.array(*shapes[1])
    assert_matmul(gemm.matmul(a, b), a, b)
    assert_matmul(gemm.matmul(b.T, a.T), b.T, a.T)


@pytest.mark.parametrize(
    "index", [(slice(None, None, 2), slice(None)), (slice(None), slice(None, None, 2)), (slice(None, None, -1), slice(None))]
)
def test_layouts_that_cublas_does_not_support_are_copied(gpu: Bench, index: tuple[slice, slice]) -> None:
    a = gpu.array(6, 6)[index]
    b = gpu.array(a.shape[1], 3)
    assert_matmul(gemm.matmul(a, b), a, b)


def test_a_broadcast_row_is_copied(gpu: Bench) -> None:
    row = gpu.array(1, 4)
    a = gpu.cupy.broadcast_to(row, (3, 4))
    b = gpu.array(4, 2)
    assert_matmul(gemm.matmul(a, b), a, b)


def test_a_batch_times_one_matrix_is_one_matmul(gpu: Bench) -> None:
    a, b = gpu.array(2, 3, 4, 5), gpu.array(6, 5).T
    assert_matmul(gemm.matmul(a, b), a, b)
    (call,) = gpu.calls()
    assert (call["count"], size(call)) == (1, (6, 24, 5))


def test_a_batch_is_one_call(gpu: Bench) -> None:
    a, b = gpu.array(2, 3, 4, 5), gpu.array(2, 3, 6, 5)
    assert_matmul(gemm.matmul(a, gpu.cupy.swapaxes(b, -1, -2)), a, gpu.cupy.swapaxes(b, -1, -2))
    (call,) = gpu.calls()
    assert call["count"] == 6


def test_the_heads_of_a_packed_projection_are_not_copied(gpu: Bench) -> None:
    batch, length, heads, width = 3, 5, 2, 4
    qkv = gpu.array(batch, length, 3 * heads * width)
    parts = [qkv[:, :, i * heads * width : (i + 1) * heads * width] for i in range(3)]
    q, k, v = (x.reshape(batch, length, heads, width).transpose(0, 2, 1, 3) for x in parts)
    assert q.data.ptr == qkv.data.ptr
    launched = hooks.launches()
    scores = gemm.matmul(q, gpu.cupy.swapaxes(k, -1, -2))
    assert [call["count"] for call in gpu.calls()] == [3, 3]  # one call per head, batched over examples
    out, transposed = gemm.matmul(scores, v), gemm.matmul(gpu.cupy.swapaxes(scores, -1, -2), q)
    assert hooks.launches() == launched + 2 + len(gpu.calls())
    assert_matmul(scores, q, gpu.cupy.swapaxes(k, -1, -2))
    assert_matmul(out, scores, v)
    assert_matmul(transposed, gpu.cupy.swapaxes(scores, -1, -2), q)


def test_operands_are_copied_if_too_many_calls_would_be_needed(gpu: Bench) -> None:
    a = gpu.array(40, 3, 50, 4).transpose(0, 2, 1, 3)  # 40 x 50 matrices (3, 4)
    b = gpu.array(40, 50, 4, 2)
    assert_matmul(gemm.matmul(a, b), a, b)
    assert [call["count"] for call in gpu.calls()] == [2000]


@pytest.mark.parametrize("shapes", [((2, 1, 3, 4), (5, 4, 2)), ((5, 3, 4), (2, 1, 4, 2)), ((3, 4), (2, 5, 4, 2)), ((1, 3, 4), (7, 4, 2))])
def test_batches_are_broadcast(gpu: Bench, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = gpu.array(*shapes[0]), gpu.array(*shapes[1])
    assert_matmul(gemm.matmul(a, b), a, b)


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((4,), (4, 3)), ((3, 4), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3))])
def test_vectors_are_rows_and_columns(gpu: Bench, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = gpu.array(*shapes[0]), gpu.array(*shapes[1])
    assert_matmul(gemm.matmul(a, b), a, b)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((2, 3), (3, 0)), ((2, 0), (0, 3)), ((0, 2, 3), (0, 3, 2)), ((4, 2, 0), (0, 3))])
def test_empty_matmuls(gpu: Bench, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = gpu.array(*shapes[0]), gpu.array(*shapes[1])
    assert_matmul(gemm.matmul(a, b), a, b)
    assert gpu.calls() == []


def test_mismatched_shapes_raise(gpu: Bench) -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 3\)"):
        gemm.matmul(gpu.array(2, 3), gpu.array(2, 3))
    with pytest.raises(ValueError, match="broadcast"):
        gemm.matmul(gpu.array(2, 2, 3), gpu.array(3, 3, 3))


def test_16_bit_matmuls_accumulate_in_float32(gpu: Bench) -> None:
    ones = gpu.cupy.array(numpy.ones((1, 4096), dtype=numpy.float16))
    assert float(gemm.matmul(ones, ones.T)[0, 0]) == 4096.0  # accumulation in float16 would stop at 2048
    assert float(gemm.column_sums(gpu.cupy.array(numpy.full((4096, 1), 1, dtype=ml_dtypes.bfloat16)))[0]) == 4096.0


def test_tf32_is_used_only_if_selected_and_only_for_float32(gpu: Bench) -> None:
    a, b = gpu.array(4, 8), gpu.array(8, 4)
    float16 = gpu.array(8, 4, dtype="float16")
    gemm.matmul(a, b)
    with gemm.tf32():
        rough = gemm.matmul(a, b)
        gemm.matmul(float16.T, float16)
        gemm.column_sums(a)
    gemm.matmul(a, b)
    assert [call["compute"] for call in gpu.calls()] == [68, 77, 68, 68, 68]
    assert numpy.abs(rough.get() - a.get() @ b.get()).max() > 1e-6
    assert_matmul(rough, a, b, 1e-2)


def test_each_stream_has_its_own_workspace(gpu: Bench) -> None:
    a = gpu.array(2, 2)
    stream = gpu.cupy.cuda.Stream(non_blocking=True)
    gemm.matmul(a, a)
    with stream:
        gemm.matmul(a, a)
        gemm.matmul(a, a)
    gemm.matmul(a, a)
    calls = gpu.calls()
    assert [call["stream"] for call in calls] == [0, stream.ptr, stream.ptr, 0]
    first, second = calls[0]["workspace"], calls[1]["workspace"]
    assert 0 != first != second != 0
    assert [call["workspace"] for call in calls] == [first, second, second, first]


def test_a_failed_call_raises(gpu: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gemm.DATA_TYPES, "float32", 3)
    with pytest.raises(gemm.BlasError, match="cublasGemmEx failed with status 15"):
        gemm.matmul(gpu.array(2, 2), gpu.array(2, 2))


# ---- matmuls that cuBLAS does not support ----


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("shapes", [((3, 5), (5, 4)), ((2, 3, 5), (2, 5, 4))])
def test_16_bit_matmuls_that_cublas_does_not_support_are_computed_in_float32(
    gpu: Bench,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    refusals = hooks.refusals()
    monkeypatch.setenv("EMULATED_CUBLAS_REFUSES", dtype)
    a, b = gpu.array(*shapes[0], dtype=dtype), gpu.cupy.swapaxes(gpu.array(*shapes[1][:-2], 4, 5, dtype=dtype), -1, -2)
    with caplog.at_level("INFO", "tinytorch"):
        for _ in range(3):
            result = gemm.matmul(a, b)
            assert result.dtype == a.dtype
            assert_matmul(result, a, b, CLOSE[dtype])
    assert hooks.refusals() == refusals + 1  # remembered
    assert len(caplog.messages) == 1
    assert f"not supported for {dtype} {shapes[0]} and {shapes[1]}; this matmul is computed in float32" in caplog.text


def test_only_the_matmul_that_cublas_does_not_support_is_computed_in_float32(gpu: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATED_CUBLAS_REFUSES", "float16")
    gemm.matmul(gpu.array(2, 2, dtype="float16"), gpu.array(2, 2, dtype="float16"))
    monkeypatch.delenv("EMULATED_CUBLAS_REFUSES")
    other = gpu.array(3, 3, dtype="float16")
    launched = hooks.launches()
    gemm.matmul(other, other)
    assert hooks.launches() == launched + 1  # no conversions


def test_a_matmul_that_cublas_does_not_support_is_captured(
    gpu: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = hooks.refusals()
    monkeypatch.setenv("EMULATED_CUBLAS_REFUSES", "float16")
    random = numpy.random.default_rng(0)
    x = gpu.cupy.array(random.normal(size=(4, 4)).astype("float16") / 4)
    captured = gpu.backend.compile(lambda state, batch: ((gemm.matmul(state[0], batch[0]),), ()), donate=True)
    state: Any = (x,)
    for _ in range(3):
        state, _ = captured(state, (x,))
    numpy.testing.assert_allclose(state[0].get(), numpy.linalg.matrix_power(x.get().astype("float64"), 4), atol=1e-3)
    assert hooks.refusals() == refusals + 1
    assert caplog.messages == []  # no warning: captured


def test_float32_has_no_wider_retry(gpu: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATED_CUBLAS_REFUSES", "float32")
    with pytest.raises(gemm.BlasError, match="cublasGemmEx failed with status 15"):
        gemm.matmul(gpu.array(2, 2), gpu.array(2, 2))


LARGE_BATCH = """
import cupy
from tests.emulated_cuda import hooks
from tinytorch_cupy import gemm
a = (cupy.arange(129025 * 2) % 7).reshape(129025, 1, 2).astype("float16")
found = gemm.matmul(a, cupy.ones((129025, 2, 1), dtype="float16"))
print([call["count"] for call in hooks.matmuls()], hooks.refusals(), bool((found[:, 0] == a[:, 0, :1] + a[:, 0, 1:]).all()))
"""


@pytest.mark.parametrize(("capability", "counts"), [("75", [64512, 64512, 1]), ("80", [129025])])
def test_large_batches_are_split_before_compute_capability_8(gpu: Bench, capability: str, counts: list[int]) -> None:
    # in a process of its own, because cupy reads the capability once
    assert hooks.output_of(LARGE_BATCH, EMULATED_CUDA_CAPABILITY=capability) == f"{counts} 0 True"


def test_a_split_batch_repeats_a_broadcast_operand(gpu: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm.current(), "_max_batch", 4)
    a, b = gpu.array(2, 3), gpu.array(10, 3, 2)
    assert_matmul(gemm.matmul(a, b), a, b)
    assert [call["count"] for call in gpu.calls()] == [4, 4, 2]


# ---- the library ----


@pytest.mark.parametrize(("platform", "name"), [("linux", "libcublas.so.12"), ("win32", "cublas64_12.dll")])
def test_libcublas_is_the_one_of_cupy_even_if_a_newer_one_is_installed(monkeypatch: pytest.MonkeyPatch, platform: str, name: str) -> None:
    newest = SimpleNamespace(abs_path="/site-packages/nvidia/cu13/lib/libcublas.so.13")
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", SimpleNamespace(load_nvidia_dynamic_lib=lambda name: newest))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", SimpleNamespace(cublas=None))  # type: ignore[arg-type]
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(runtimeGetVersion=lambda: 12080)))
    loaded = {name: MagicMock()}
    monkeypatch.setattr(gemm.ctypes, "CDLL", loaded.__getitem__)
    monkeypatch.setattr(gemm.sys, "platform", platform)
    assert gemm.load_library(cupy) is loaded[name]


def test_other_dtypes_use_cupys_matmul(gpu: Bench) -> None:
    integers = gpu.cupy.array(numpy.arange(4).reshape(2, 2))
    assert_matmul(gemm.matmul(integers, integers), integers, integers)
    assert gpu.calls() == []


def test_ones_are_cached_per_power_of_two(gpu: Bench) -> None:
    for count in range(100):
        x = gpu.array(count, 2)
        numpy.testing.assert_allclose(gemm.column_sums(x).get(), x.get().sum(axis=0), rtol=1e-4, atol=1e-5)
    assert sorted(length for _, _, length in gemm.current()._ones) == [1, 2, 4, 8, 16, 32, 64, 128]
    launched = hooks.launches()
    gemm.column_sums(x)
    assert hooks.launches() == launched + 1


def test_buffers_of_a_handle_are_allocated_from_the_default_pool(gpu: Bench) -> None:
    x = gpu.array(5, 2)
    pool = gpu.cupy.cuda.MemoryPool()
    with gpu.cupy.cuda.using_allocator(pool.malloc):
        gemm.column_sums(x)
    del pool
    numpy.testing.assert_allclose(gemm.column_sums(x).get(), x.get().sum(axis=0), rtol=1e-5)


# ---- the linear layer ----


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("biased", [False, True])
def test_linear_matches_the_portable_version(gpu: Bench, dtype: str, biased: bool) -> None:
    x, weight, g = gpu.array(2, 3, 5, dtype=dtype), gpu.array(4, 5, dtype=dtype), gpu.array(2, 3, 4, dtype=dtype)
    bias = gpu.array(4, dtype=dtype) if biased else None
    inputs, needs = (x, weight, bias), (True, True, biased)
    out, residuals = KERNELS["linear"].forward(*inputs)
    grads = KERNELS["linear"].backward(g, residuals, inputs, needs)
    to_float64 = [None if array is None else array.get().astype(numpy.float64) for array in inputs]
    expected, _ = portable.forward(numpy, *to_float64)
    expected_grads = portable.joint_rule(numpy, g.get().astype(numpy.float64), None, to_float64, needs)
    for result, value, like in zip((out, *grads), (expected, *expected_grads), (x, *inputs), strict=True):
        assert (result is None) == (value is None)
        if result is not None:
            assert result.dtype == like.dtype
            numpy.testing.assert_allclose(result.get().astype(numpy.float64), value, rtol=CLOSE[dtype], atol=CLOSE[dtype] * 10)


def test_linear_does_not_copy(gpu: Bench) -> None:
    x, weight, g = gpu.array(2, 3, 5), gpu.array(4, 5), gpu.array(2, 3, 4)
    launched = hooks.launches()
    KERNELS["linear"].forward(x, weight, None)
    KERNELS["linear"].backward(g, None, (x, weight, None), (True, True, False))
    assert hooks.launches() == launched + 3
    assert [call["count"] for call in gpu.calls()] == [1, 1, 1]


def test_mixed_and_integer_dtypes_are_not_supported(gpu: Bench) -> None:
    float16 = gpu.array(2, 5, dtype="float16")
    assert KERNELS["linear"].forward(float16, gpu.array(4, 5), None) is NotImplemented
    integers = gpu.cupy.array(numpy.ones((2, 2), dtype=numpy.int64))
    assert KERNELS["linear"].forward(integers, integers, None) is NotImplemented


def test_cublas_out_of_memory_is_a_memory_error(gpu: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATED_CUBLAS_STATUS", "3")
    with pytest.raises(MemoryError, match="out of GPU memory for cuBLAS"):
        gemm.matmul(gpu.array(2, 2), gpu.array(2, 2))
