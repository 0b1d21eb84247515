"""The functions that the plugin overrides match numpy's."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy
import pytest

import tinytorch as tt
from tests.emulated_cuda import hooks
from tinytorch.tensor import wrap
from tinytorch_cupy import create_backend

BF16 = numpy.dtype(ml_dtypes.bfloat16)


@pytest.fixture
def xp(gpu: Any) -> Any:
    """The namespace of the backend."""
    return gpu.backend.xp


@pytest.mark.parametrize(
    "bounds", [(-1.0, 1.0), (None, 0.5), (0.5, None), (None, None), (numpy.nan, 1.0), (numpy.zeros(3), numpy.ones((2, 1)))]
)
def test_clip(xp: Any, bounds: tuple[Any, Any]) -> None:
    import array_api_compat.numpy

    host = numpy.array([[-2.0, 0.1, 3.0], [numpy.nan, numpy.inf, 0.7]], dtype="float32")
    x = xp.asarray(host)
    found = xp.clip(x, *[xp.asarray(bound) if isinstance(bound, numpy.ndarray) else bound for bound in bounds])
    assert found.dtype == x.dtype
    assert found.data.ptr != x.data.ptr
    numpy.testing.assert_array_equal(found.get(), array_api_compat.numpy.clip(host, *bounds))


def test_clip_of_integers_with_bounds_outside_their_range(xp: Any) -> None:
    x = xp.asarray([-100, 0, 100], dtype="int8")
    assert xp.clip(x, -1000, 50).tolist() == [-100, 0, 50]
    assert xp.clip(x, -50, 1000).tolist() == [-50, 0, 100]
    assert xp.clip(x, -50, 1000).dtype == x.dtype


def test_bfloat16_is_a_16_bit_real_dtype(xp: Any) -> None:
    assert xp.finfo(BF16).bits == 16
    assert xp.finfo(xp.asarray(numpy.ones(1, BF16))).bits == 16
    assert xp.finfo(numpy.float32).bits == 32
    assert xp.isdtype(BF16, "real floating")
    assert xp.isdtype(BF16, ("bool", "numeric"))
    assert xp.isdtype(BF16, BF16)
    assert not xp.isdtype(BF16, "complex floating")
    assert xp.isdtype(numpy.dtype("int8"), "integral")


def test_where_keeps_bfloat16(xp: Any) -> None:
    x, y = (xp.asarray(numpy.array(values, BF16)) for values in ([1.5, -2.0, numpy.nan], [0.5, 3.0, 4.0]))
    condition = xp.asarray([True, False, True])
    found = xp.where(condition, x, y)
    assert found.dtype == BF16
    numpy.testing.assert_array_equal(found.get().astype("float32"), [1.5, 3.0, numpy.nan])
    found = xp.where(condition, x[None, ::-1], 0.25)
    assert (found.dtype, found.shape) == (BF16, (1, 3))
    assert found.get()[0, 1] == 0.25
    assert xp.where(condition, x, y.astype("float32")).dtype == numpy.float32


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
@pytest.mark.parametrize(
    ("axis", "repeats"), [(None, [1, 0, 2, 3, 0, 1]), (None, [2]), (0, [0, 3]), (1, [2, 0, 1]), (-1, [0, 0, 0]), (1, 3)]
)
def test_repeat_supports_an_array_of_repeats(gpu: Any, axis: int | None, repeats: Any, dtype: str) -> None:
    x = numpy.arange(6, dtype="float32").reshape(2, 3)
    count = repeats if isinstance(repeats, int) else gpu.cupy.array(numpy.array(repeats, dtype))
    found = gpu.backend.xp.repeat(gpu.cupy.array(x), count, axis=axis)
    assert found.dtype == x.dtype
    numpy.testing.assert_array_equal(found.get(), numpy.repeat(x, repeats, axis=axis))


def test_repeat_raises_as_numpy_does(gpu: Any) -> None:
    x = gpu.cupy.array(numpy.zeros((2, 3)))
    with pytest.raises(ValueError, match="expected 1 or 3 repeats for an axis of length 3, got 2"):
        gpu.backend.xp.repeat(x, gpu.cupy.array(numpy.array([1, 2])), axis=1)
    with pytest.raises(ValueError, match="must not be negative, got -2"):
        gpu.backend.xp.repeat(x, gpu.cupy.array(numpy.array([1, -2])), axis=0)
    empty = gpu.cupy.array(numpy.zeros((2, 0)))
    assert gpu.backend.xp.repeat(empty, gpu.cupy.array(numpy.array([4])), axis=1).shape == (2, 0)


def test_repeat_by_an_array_has_a_gradient(gpu: Any) -> None:
    repeats = tt.asarray([0, 3, 1])
    gradient = tt.grad(lambda x: tt.sum(tt.repeat(x, repeats) ** 2))(tt.asarray([1.0, 2.0, 3.0]))
    assert gradient.numpy().tolist() == [0.0, 12.0, 6.0]


PRECISIONS = """
from tinytorch_cupy import create_backend
backend = create_backend()
print(*[backend.lacks_precision(name) for name in ("float32", "tf32", "bfloat16", "float16")], sep="; ")
print("bfloat16" in backend.capabilities.dtypes)
"""
OLD = "the GPU's compute capability is 7.5, and"


@pytest.mark.parametrize(
    ("capability", "reasons", "has_bfloat16"),
    [
        ("75", f"None; {OLD} tf32 needs 8.0; {OLD} bfloat16 needs 8.0; None", False),
        ("80", "None; None; None; None", True),
        ("120", "None; None; None; None", True),
    ],
)
def test_precisions_that_a_gpu_does_not_support(gpu: Any, capability: str, reasons: str, has_bfloat16: bool) -> None:
    # in a process of its own, because cupy reads the capability once
    assert hooks.output_of(PRECISIONS, EMULATED_CUDA_CAPABILITY=capability) == f"{reasons}\n{has_bfloat16}"


def test_bfloat16_needs_cuda_12_2(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.cupy.cuda, "get_local_runtime_version", lambda: 12010)
    backend = create_backend()
    assert backend.lacks_precision("bfloat16") == "it needs CUDA 12.2 or newer"
    assert backend.lacks_precision("tf32") is None


def test_memory_info_reports_the_gpu(gpu: Any) -> None:
    assert gpu.backend.capabilities.graph
    pool = gpu.cupy.cuda.MemoryPool()  # free blocks of another pool would be used first
    before = gpu.backend.memory_info()
    with gpu.cupy.cuda.using_allocator(pool.malloc):
        held = [gpu.cupy.zeros(128, dtype="float32") for _ in range(3)]
    info = gpu.backend.memory_info()
    assert len(held) == 3
    assert (info.used - before.used, info.total) == (3 * 512, 8 << 30)


@pytest.mark.parametrize(
    "shapes", [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 1)), ((4, 1, 3, 3), (2, 3, 2)), ((0, 3, 3), (3, 2))]
)
def test_solve_broadcasts_batch_dimensions(xp: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    import array_api_compat.numpy

    random = numpy.random.default_rng(0)
    a, b = random.normal(size=shapes[0]) + 3 * numpy.eye(3), random.normal(size=shapes[1])
    found = xp.linalg.solve(xp.asarray(a), xp.asarray(b))
    numpy.testing.assert_allclose(found.get(), array_api_compat.numpy.linalg.solve(a, b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floor_divide_and_remainder_match_numpy(xp: Any, dtype: str) -> None:
    values = numpy.array([1.0, 0.1, 0.3, -0.1, 7.5, -7.5, 1e-3, 12345.678, 0.0, -0.0, numpy.inf, -numpy.inf, numpy.nan], dtype)
    x1, x2 = values[:, None], values[None, :]
    with numpy.errstate(all="ignore"):
        for name in ("floor_divide", "remainder"):
            expected, found = getattr(numpy, name)(x1, x2), getattr(xp, name)(xp.asarray(x1), xp.asarray(x2)).get()
            assert found.dtype == expected.dtype
            numpy.testing.assert_array_equal(found, expected)
            numpy.testing.assert_array_equal(numpy.signbit(found), numpy.signbit(expected))
    assert xp.floor_divide(xp.ones(1), 0.1).tolist() == [9.0]  # not floor(10)
    assert xp.remainder(1.0, xp.asarray([0.1])).tolist() == [1.0 % 0.1]
    assert xp.floor_divide(xp.asarray([7, -7]), 2).tolist() == [3, -4]


def test_linspace_between_complex_numbers(xp: Any) -> None:
    for stop in (1j, 2.0, 1 + 1j):
        found = xp.linspace(0.5j, stop, 4, dtype=numpy.complex64, endpoint=False)
        assert found.dtype == numpy.complex64
        numpy.testing.assert_allclose(found.get(), numpy.linspace(0.5j, stop, 4, endpoint=False), rtol=1e-6)
    assert xp.linspace(0.0, 1.0, 3, dtype=numpy.float32).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("length", [7, 513])
def test_add_rows_sums_by_index(gpu: Any, length: int) -> None:
    random = numpy.random.default_rng(0)
    rows, indices = random.normal(size=(300, 4)).astype("float32"), random.integers(0, 7, 300)
    expected = numpy.zeros((length, 4))
    numpy.add.at(expected, indices, rows)
    found = gpu.backend.xp.add_rows(gpu.cupy.asarray(rows), gpu.cupy.asarray(indices), length)
    numpy.testing.assert_allclose(found.get(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_0d_array_keeps_the_sign_of_zero(gpu: Any, dtype: str) -> None:
    zero = gpu.backend.from_host(numpy.asarray(-0.0), dtype)
    assert zero.shape == ()
    assert numpy.signbit(zero.get())


# ---- out-of-bounds indices, which cupy wraps ----


def test_out_of_bounds_indices_raise(gpu: Any) -> None:
    def found(*indices: int) -> int | None:
        result: int | None = gpu.backend.out_of_bounds(gpu.cupy.asarray(numpy.array(indices, dtype="int64")), 3)
        return result

    assert found(0, 2, -3) is None
    assert found() is None
    assert found(0, 3) == 3
    assert found(-4, 5) == -4
    x = tt.asarray([1.0, 2.0, 3.0])
    for read in (lambda i: x[i], lambda i: tt.take(x, i), lambda i: tt.take_along_axis(x, i)):
        assert read(tt.asarray([0, -3])).tolist() == [1.0, 1.0]
        with pytest.raises(IndexError, match=r"index 3 is out of bounds for axis 0 of shape \(3,\)"):
            read(tt.asarray([0, 3]))


def test_a_step_that_takes_by_indices_is_not_captured(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Indices cannot be read during capture, and cupy would wrap out-of-bounds ones silently."""

    def read(state: Any, batch: Any) -> Any:
        return state, (tt.take(wrap(state[0], gpu.backend), wrap(batch[0], gpu.backend)).raw,)

    step = gpu.backend.compile(read)
    state = (tt.asarray([1.0, 2.0, 3.0]).raw,)
    _, (out,) = step(state, (tt.asarray([2, 0]).raw,))
    assert out.get().tolist() == [3.0, 1.0]
    assert "indices in an array cannot be checked while a CUDA graph is captured" in caplog.text
    with pytest.raises(IndexError, match="index 7"):
        step(state, (tt.asarray([2, 7]).raw,))
