"""Functions of cupy that cannot be captured, or only in some versions."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from tests.backends.tinytorch_cupy.fake_cupy import new_namespace
from tinytorch_cupy.backend import CupyBackend


def backend_of(cupy: Any, version: str) -> CupyBackend:
    cupy.__version__ = version
    cupy.machine.sorts_during_capture = version >= "14.1"
    return CupyBackend(cupy, new_namespace(cupy), 0)


def call(xp: Any, name: str, x: Any) -> Any:
    """The first or only result of a function."""
    found = xp.isin(x, x[:1]) if name == "isin" else getattr(xp, name)(x)
    return found[0] if isinstance(found, tuple) else found


SORTED = {"argsort": [1, 2, 0], "isin": [True, False, False], "sort": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize("name", ["argsort", "isin", "sort", "unique_all", "unique_counts", "unique_inverse", "unique_values"])
def test_a_step_that_sorts_is_not_captured_by_cupy_14_0(fake_gpu: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """An error of Thrust would end the process."""
    backend = backend_of(fake_gpu.cupy, "14.0.1")
    step = backend.compile(lambda state, batch: ((), (call(backend.xp, name, batch[0]),)))
    _, (out,) = step((), (fake_gpu.cupy.asarray(numpy.float32([3, 1, 2])),))
    assert out.tolist() == SORTED.get(name, [1.0, 2.0, 3.0])
    assert f"{name} cannot be captured in a CUDA graph: cupy 14.0.1 does not catch errors of Thrust, 14.1.0 does" in caplog.text


@pytest.mark.parametrize("name", ["argsort", "sort"])
def test_a_step_that_sorts_is_captured_by_newer_versions(fake_gpu: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    backend = backend_of(fake_gpu.cupy, "14.2.0")
    step = backend.compile(lambda state, batch: ((), (call(backend.xp, name, batch[0]),)))
    for values in ([3, 1, 2], [6, 4, 5]):
        _, (out,) = step((), (fake_gpu.cupy.asarray(numpy.float32(values)),))
        assert out.tolist() == (SORTED[name] if name == "argsort" else sorted(values))
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["argsort", "isin", "sort", "unique_values"])
def test_a_sort_that_does_not_fit_raises(fake_gpu: Any, name: str) -> None:
    """In cupy 14.0 Thrust would go on without memory, and the result would be wrong."""
    x = fake_gpu.cupy.asarray(numpy.zeros(2**20, "float32"))
    fake_gpu.cupy.gpu.capacity = fake_gpu.cupy.gpu.allocated + 12 * x.nbytes
    with pytest.raises(MemoryError, match="Out of memory"):
        call(backend_of(fake_gpu.cupy, "14.0.1").xp, name, x)


def test_sorting_an_empty_array_allocates_nothing(fake_gpu: Any) -> None:
    before = fake_gpu.cupy.gpu.allocated
    assert backend_of(fake_gpu.cupy, "14.0.1").xp.sort(fake_gpu.cupy.zeros(0)).shape == (0,)
    assert fake_gpu.cupy.gpu.allocated == before


# ---- cuFFT, whose plans cupy caches with their memory ----


@pytest.mark.parametrize("name", ["fft", "ifft", "rfftn", "hfft"])
def test_a_step_with_a_fourier_transform_is_not_captured(fake_gpu: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    xp = fake_gpu.backend.xp
    x = numpy.arange(4, dtype="float32")
    _, (out,) = fake_gpu.backend.compile(lambda state, batch: ((), (getattr(xp.fft, name)(batch[0]),)))((), (fake_gpu.cupy.asarray(x),))
    numpy.testing.assert_allclose(out.get(), getattr(numpy.fft, name)(x), rtol=1e-6)
    assert f"fft.{name} cannot be captured in a CUDA graph: cupy may free the plan before the graph" in caplog.text


def test_a_plan_is_allocated_from_the_default_pool(fake_gpu: Any) -> None:
    """It may outlive the pool of the graph in whose warm-up it was made."""
    x, pool = fake_gpu.cupy.zeros(4), fake_gpu.cupy.cuda.MemoryPool()
    with fake_gpu.cupy.cuda.using_allocator(pool.malloc):
        plan = fake_gpu.backend.xp.fft.fft(x)  # the fake has no plans, so its result stands for one
    assert plan.shape == (4,)
    assert pool.total_bytes() == 0
