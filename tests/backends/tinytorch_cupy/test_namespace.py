"""The functions that the plugin overrides match numpy's."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy
import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy.fake_cupy import new_cupy, new_namespace
from tinytorch.tensor import wrap
from tinytorch_cupy.backend import CupyBackend
from tinytorch_cupy.namespace import override_functions

BF16 = numpy.dtype(ml_dtypes.bfloat16)


@pytest.fixture
def overrides() -> Any:
    """The overrides, with numpy's namespace below them."""
    import array_api_compat.numpy as xp

    return override_functions(new_cupy(), xp)


@pytest.mark.parametrize(
    "bounds", [(-1.0, 1.0), (None, 0.5), (0.5, None), (None, None), (numpy.nan, 1.0), (numpy.zeros(3), numpy.ones((2, 1)))]
)
def test_clip(overrides: Any, bounds: tuple[Any, Any]) -> None:
    import array_api_compat.numpy as xp

    x = numpy.array([[-2.0, 0.1, 3.0], [numpy.nan, numpy.inf, 0.7]], dtype="float32")
    found = overrides["clip"](x, *bounds)
    assert found.dtype == x.dtype
    assert found is not x
    numpy.testing.assert_array_equal(found, xp.clip(x, *bounds))


def test_clip_of_integers_with_bounds_outside_their_range(overrides: Any) -> None:
    x = numpy.array([-100, 0, 100], dtype="int8")
    assert overrides["clip"](x, -1000, 50).tolist() == [-100, 0, 50]
    assert overrides["clip"](x, -50, 1000).tolist() == [-50, 0, 100]
    assert overrides["clip"](x, -50, 1000).dtype == x.dtype


def test_bfloat16_is_a_16_bit_real_dtype(overrides: Any) -> None:
    assert overrides["finfo"](BF16).bits == 16
    assert overrides["finfo"](numpy.ones(1, BF16)).bits == 16
    assert overrides["finfo"](numpy.float32).bits == 32
    assert overrides["isdtype"](BF16, "real floating")
    assert overrides["isdtype"](BF16, ("bool", "numeric"))
    assert overrides["isdtype"](BF16, BF16)
    assert not overrides["isdtype"](BF16, "complex floating")
    assert overrides["isdtype"](numpy.dtype("int8"), "integral")


def test_where_keeps_bfloat16(overrides: Any) -> None:
    x, y = numpy.array([1.5, -2.0, numpy.nan], BF16), numpy.array([0.5, 3.0, 4.0], BF16)
    condition = numpy.array([True, False, True])
    found = overrides["where"](condition, x, y)
    assert found.dtype == BF16
    numpy.testing.assert_array_equal(found.astype("float32"), [1.5, 3.0, numpy.nan])
    found = overrides["where"](condition, x[None, ::-1], 0.25)
    assert (found.dtype, found.shape) == (BF16, (1, 3))
    assert found[0, 1] == 0.25
    assert overrides["where"](condition, x, y.astype("float32")).dtype == numpy.float32


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
@pytest.mark.parametrize(
    ("axis", "repeats"), [(None, [1, 0, 2, 3, 0, 1]), (None, [2]), (0, [0, 3]), (1, [2, 0, 1]), (-1, [0, 0, 0]), (1, 3)]
)
def test_repeat_supports_an_array_of_repeats(fake_gpu: Any, axis: int | None, repeats: Any, dtype: str) -> None:
    x = numpy.arange(6, dtype="float32").reshape(2, 3)
    count = repeats if isinstance(repeats, int) else fake_gpu.cupy.array(numpy.array(repeats, dtype))
    found = fake_gpu.backend.xp.repeat(fake_gpu.cupy.array(x), count, axis=axis)
    assert found.dtype == x.dtype
    numpy.testing.assert_array_equal(found.get(), numpy.repeat(x, repeats, axis=axis))


def test_repeat_raises_as_numpy_does(fake_gpu: Any) -> None:
    x = fake_gpu.cupy.array(numpy.zeros((2, 3)))
    with pytest.raises(ValueError, match="expected 1 or 3 repeats for an axis of length 3, got 2"):
        fake_gpu.backend.xp.repeat(x, fake_gpu.cupy.array(numpy.array([1, 2])), axis=1)
    with pytest.raises(ValueError, match="must not be negative, got -2"):
        fake_gpu.backend.xp.repeat(x, fake_gpu.cupy.array(numpy.array([1, -2])), axis=0)
    empty = fake_gpu.cupy.array(numpy.zeros((2, 0)))
    assert fake_gpu.backend.xp.repeat(empty, fake_gpu.cupy.array(numpy.array([4])), axis=1).shape == (2, 0)


def test_repeat_by_an_array_has_a_gradient(fake_gpu: Any) -> None:
    repeats = tt.asarray([0, 3, 1])
    gradient = tt.grad(lambda x: tt.sum(tt.repeat(x, repeats) ** 2))(tt.asarray([1.0, 2.0, 3.0]))
    assert gradient.numpy().tolist() == [0.0, 12.0, 6.0]


@pytest.mark.parametrize(("capability", "lacking"), [("75", {"tf32", "bfloat16"}), ("80", set()), ("120", set())])
def test_precisions_that_a_gpu_does_not_support(capability: str, lacking: set[str]) -> None:
    cupy = new_cupy(capability)
    backend = CupyBackend(cupy, new_namespace(cupy), 0)
    names = ("float32", "tf32", "bfloat16", "float16")
    assert {name for name in names if backend.lacks_precision(name)} == lacking
    assert ("bfloat16" in backend.capabilities.dtypes) is ("bfloat16" not in lacking)
    if lacking:
        assert backend.lacks_precision("tf32") == "the GPU's compute capability is 7.5, and tf32 needs 8.0"


def test_bfloat16_needs_cuda_12_2(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy: Any = new_cupy("90")
    cupy.cuda.get_local_runtime_version = lambda: 12010
    backend = CupyBackend(cupy, new_namespace(cupy), 0)
    assert backend.lacks_precision("bfloat16") == "it needs CUDA 12.2 or newer"
    assert backend.lacks_precision("tf32") is None


def test_memory_info_reports_the_gpu(fake_gpu: Any) -> None:
    assert fake_gpu.backend.capabilities.graph
    fake_gpu.cupy.get_default_memory_pool().free_all_blocks()  # free blocks would be used first
    before = fake_gpu.backend.memory_info()
    held = [fake_gpu.cupy.zeros(128, dtype="float32") for _ in range(3)]
    info = fake_gpu.backend.memory_info()
    assert len(held) == 3
    assert (info.used - before.used, info.total) == (3 * 512, 80 << 30)


class _Solver:
    """``linalg.solve`` with cupy's restrictions: vectors, or equal batch dimensions."""

    linalg: Any

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.linalg = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def solve(self, a: Any, b: Any) -> Any:
        if b.ndim > 1 and a.shape[:-1] != b.shape[:-1]:
            raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
        assert b.size
        return self._xp.linalg.solve(a, b)


@pytest.mark.parametrize(
    "shapes", [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 1)), ((4, 1, 3, 3), (2, 3, 2)), ((0, 3, 3), (3, 2))]
)
def test_solve_broadcasts_batch_dimensions(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    import array_api_compat.numpy as xp

    random = numpy.random.default_rng(0)
    a, b = random.normal(size=shapes[0]) + 3 * numpy.eye(3), random.normal(size=shapes[1])
    found = override_functions(new_cupy(), _Solver(xp))["linalg.solve"](a, b)
    numpy.testing.assert_allclose(found, xp.linalg.solve(a, b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floor_divide_and_remainder_match_numpy(overrides: Any, dtype: str) -> None:
    values = numpy.array([1.0, 0.1, 0.3, -0.1, 7.5, -7.5, 1e-3, 12345.678, 0.0, -0.0, numpy.inf, -numpy.inf, numpy.nan], dtype)
    x1, x2 = values[:, None], values[None, :]
    with numpy.errstate(all="ignore"):
        for name in ("floor_divide", "remainder"):
            expected, found = getattr(numpy, name)(x1, x2), overrides[name](x1, x2)
            assert found.dtype == expected.dtype
            numpy.testing.assert_array_equal(found, expected)
            numpy.testing.assert_array_equal(numpy.signbit(found), numpy.signbit(expected))
    assert overrides["floor_divide"](numpy.ones(1), 0.1).tolist() == [9.0]  # not floor(10)
    assert overrides["remainder"](1.0, numpy.array([0.1])).tolist() == [1.0 % 0.1]
    assert overrides["floor_divide"](numpy.array([7, -7]), 2).tolist() == [3, -4]


def test_linspace_between_complex_numbers(overrides: Any) -> None:
    for stop in (1j, 2.0, 1 + 1j):
        found = overrides["linspace"](0.5j, stop, 4, dtype=numpy.complex64, endpoint=False)
        assert found.dtype == numpy.complex64
        numpy.testing.assert_allclose(found, numpy.linspace(0.5j, stop, 4, endpoint=False), rtol=1e-6)
    assert overrides["linspace"](0.0, 1.0, 3, dtype=numpy.float32).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("length", [7, 513])
def test_add_rows_sums_by_index(fake_gpu: Any, length: int) -> None:
    random = numpy.random.default_rng(0)
    rows, indices = random.normal(size=(300, 4)).astype("float32"), random.integers(0, 7, 300)
    expected = numpy.zeros((length, 4))
    numpy.add.at(expected, indices, rows)
    found = fake_gpu.backend.xp.add_rows(fake_gpu.cupy.asarray(rows), fake_gpu.cupy.asarray(indices), length)
    numpy.testing.assert_allclose(found.get(), expected, rtol=1e-5, atol=1e-5)


# ---- out-of-bounds indices, which cupy wraps ----


def test_out_of_bounds_indices_raise(fake_gpu: Any) -> None:
    def found(*indices: int) -> int | None:
        result: int | None = fake_gpu.backend.out_of_bounds(fake_gpu.cupy.asarray(numpy.array(indices, dtype="int64")), 3)
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


def test_a_step_that_takes_by_indices_is_not_captured(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Indices cannot be read during capture, and cupy would wrap out-of-bounds ones silently."""

    def read(state: Any, batch: Any) -> Any:
        return state, (tt.take(wrap(state[0], fake_gpu.backend), wrap(batch[0], fake_gpu.backend)).raw,)

    step = fake_gpu.backend.compile(read)
    state = (tt.asarray([1.0, 2.0, 3.0]).raw,)
    _, (out,) = step(state, (tt.asarray([2, 0]).raw,))
    assert out.get().tolist() == [3.0, 1.0]
    assert "indices in an array cannot be checked while a CUDA graph is captured" in caplog.text
    with pytest.raises(IndexError, match="index 7"):
        step(state, (tt.asarray([2, 7]).raw,))
