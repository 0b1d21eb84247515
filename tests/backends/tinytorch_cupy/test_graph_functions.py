"""Functions of cupy that cannot be captured, or only in some versions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy
import pytest

from tests.emulated_cuda import hooks
from tinytorch_cupy.backend import CupyBackend


@pytest.fixture
def backend(gpu: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> CupyBackend:
    """The backend with another version of cupy, as far as it can be told from outside."""
    import array_api_compat.cupy as xp

    monkeypatch.setattr(gpu.cupy, "__version__", request.param)
    return CupyBackend(gpu.cupy, xp, 0)


in_version = partial(pytest.mark.parametrize, "backend", indirect=True)


def call(xp: Any, name: str, x: Any) -> Any:
    """The first or only result of a function."""
    found = xp.isin(x, x[:1]) if name == "isin" else getattr(xp, name)(x)
    return found[0] if isinstance(found, tuple) else found


SORTS = ["argsort", "isin", "sort", "unique_all", "unique_counts", "unique_inverse", "unique_values"]
SORTED = {"argsort": [1, 2, 0], "isin": [True, False, False]}  # others give the sorted values


@in_version(["14.0.1"])
@pytest.mark.parametrize("name", SORTS)
def test_a_step_that_sorts_is_not_captured_by_cupy_14_0(
    gpu: Any, backend: CupyBackend, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """An error of Thrust would end the process."""
    step = backend.compile(lambda state, batch: ((), (call(backend.xp, name, batch[0]),)))
    _, (out,) = step((), (gpu.cupy.asarray(numpy.float32([3, 1, 2])),))
    assert out.tolist() == SORTED.get(name, [1.0, 2.0, 3.0])
    assert f"{name} cannot be captured in a CUDA graph: cupy 14.0.1 does not catch errors of Thrust, 14.1.0 does" in caplog.text


@in_version(["14.2.0"])
@pytest.mark.parametrize("name", ["argsort", "sort"])
def test_a_step_that_sorts_is_captured_by_newer_versions(
    gpu: Any, backend: CupyBackend, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    step = backend.compile(lambda state, batch: ((), (call(backend.xp, name, batch[0]),)))
    for values in ([3, 1, 2], [6, 4, 5]):
        _, (out,) = step((), (gpu.cupy.asarray(numpy.float32(values)),))
        assert out.tolist() == SORTED.get(name, sorted(values))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("backend", "name", "room"),
    [("14.0.1", name, 12) for name in ("argsort", "isin", "sort", "unique_values")]
    + [("14.2.0", name, 1) for name in ("argsort", "sort", "unique_values")],  # isin sorts its second array, which is small
    indirect=["backend"],
)
def test_a_sort_that_does_not_fit_raises(gpu: Any, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch, name: str, room: int) -> None:
    """In cupy 14.0 Thrust would go on without memory, and the result would be wrong."""
    x = gpu.cupy.asarray(numpy.zeros(2**20, "float32"))
    gpu.cupy.get_default_memory_pool().free_all_blocks()
    monkeypatch.setenv("EMULATED_CUDA_MEMORY", str(hooks.used() + room * x.nbytes))
    with pytest.raises(MemoryError, match="Out of memory"):
        call(backend.xp, name, x)


@in_version(["14.0.1"])
def test_sorting_an_empty_array_allocates_nothing(gpu: Any, backend: CupyBackend) -> None:
    x, before = gpu.cupy.zeros(0), hooks.used()
    assert backend.xp.sort(x).shape == (0,)
    assert hooks.used() == before


# ---- cuFFT, whose plans cupy caches with their memory ----


@pytest.mark.parametrize("name", ["fft", "ifft", "rfftn", "hfft"])
def test_a_step_with_a_fourier_transform_is_not_captured(gpu: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    xp = gpu.backend.xp
    x = numpy.arange(4, dtype="float32")
    _, (out,) = gpu.backend.compile(lambda state, batch: ((), (getattr(xp.fft, name)(batch[0]),)))((), (gpu.cupy.asarray(x),))
    numpy.testing.assert_allclose(out.get(), getattr(numpy.fft, name)(x), rtol=1e-6)
    assert f"fft.{name} cannot be captured in a CUDA graph: cupy may free the plan before the graph" in caplog.text


def test_a_plan_is_allocated_from_the_default_pool(gpu: Any) -> None:
    """It may outlive the pool of the graph in whose warm-up it was made."""
    x, pool = gpu.cupy.zeros(4), gpu.cupy.cuda.MemoryPool()
    with gpu.cupy.cuda.using_allocator(pool.malloc):
        plan = gpu.backend.xp.fft.fft(x)  # the emulated cuFFT has no plans, so its result stands for one
    assert plan.shape == (4,)
    assert pool.total_bytes() == 0
