"""What a capture owns, what outlives it, and how failed captures are handled."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.backends.tinytorch_cupy.test_graph import add_step, losses, start
from tests.emulated_cuda import hooks
from tinytorch_cupy import gemm


@pytest.fixture(autouse=True)
def _without_automatic_collection() -> Iterator[None]:
    """Disable automatic garbage collection."""
    gc.disable()
    yield
    gc.enable()


#: cupy destroys a graph in a destructor, whose errors Python reports but cannot raise.
ignores_errors_of_destructors = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def ones(gpu: Any) -> Any:
    return gpu.cupy.ones(3)


def outside_of_the_default_pool(gpu: Any) -> int:
    """Bytes of the device that are not in the default pool, but in pools of graphs."""
    return hooks.used() - int(gpu.cupy.get_default_memory_pool().total_bytes())


def leave_free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let the device have ``size`` bytes beyond those in use."""
    monkeypatch.setenv("EMULATED_CUDA_MEMORY", str(hooks.used() + size))


def empty_graph(gpu: Any) -> Any:
    """A graph, whose destruction invalidates a capture."""
    with gpu.cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        return stream.end_capture()


class GraphInCycle:
    """A graph in a reference cycle, which only the garbage collector can destroy."""

    def __init__(self, gpu: Any) -> None:
        captured = gpu.backend.compile(add_step, donate=True)
        captured(start(gpu), (ones(gpu),))
        self.all = [captured, self]


# ---- memory ----


def test_a_returned_state_outlives_its_step(gpu: Any) -> None:
    captured = gpu.backend.compile(add_step, donate=True)
    state, (doubled,) = captured(start(gpu), (ones(gpu),))
    del captured
    assert state[0].get().tolist() == [1.0] * 3
    assert doubled.get().tolist() == [0.0] * 3


def test_a_second_training_in_a_process_matches_the_first(gpu: Any) -> None:
    first = losses()
    gc.collect()
    assert losses() == first


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_captured_column_sums_survive_sums_of_other_lengths(gpu: Any, dtype: str) -> None:
    captured = gpu.backend.compile(lambda state, batch: ((), (gemm.column_sums(batch[0]),)))
    sevens = gpu.cupy.ones((7, 2), dtype=dtype)
    for _ in range(2):
        _, (sums,) = captured((), (sevens,))
        assert sums.get().tolist() == [7.0, 7.0]
        for count in range(1, 80):
            gemm.column_sums(gpu.cupy.ones((count, 1), dtype=dtype))
        gpu.cupy.get_default_memory_pool().free_all_blocks()


def test_a_destroyed_graph_frees_its_memory(gpu: Any) -> None:
    pool = gpu.cupy.get_default_memory_pool()
    before = outside_of_the_default_pool(gpu), pool.used_bytes()
    captured = gpu.backend.compile(add_step, donate=True)
    captured(start(gpu), (ones(gpu),))
    assert outside_of_the_default_pool(gpu) > before[0]
    assert pool.used_bytes() > before[1]
    del captured
    assert (outside_of_the_default_pool(gpu), pool.used_bytes()) == before


def test_a_step_is_not_captured_if_its_pool_runs_out_of_memory(
    gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        new = (state[0] + 1) * 2  # from here on the block of the sum is free
        if len(runs) % 2 == 0:  # during capture it needs more memory than before, which is not available
            leave_free(monkeypatch, 512)
            gpu.cupy.empty(256, dtype="float32")
        return (new,), ()

    captured = gpu.backend.compile(step, donate=True)
    state: Any = (gpu.cupy.zeros(3),)
    for _ in range(2):
        state, _ = captured(state, ())
        monkeypatch.delenv("EMULATED_CUDA_MEMORY", raising=False)
    assert state[0].get().tolist() == [6.0] * 3
    assert len(runs) == 6
    assert "out of memory" in caplog.text


def test_a_memory_limit_does_not_free_blocks_of_a_graph(
    gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPY_GPU_MEMORY_LIMIT", str(3 * 512))  # of new pools
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        new = (state[0] + 1) * 2
        if len(runs) == 2:
            gpu.cupy.empty(256, dtype="float32")
        return (new,), ()

    captured = gpu.backend.compile(step, donate=True)
    state: Any = (gpu.cupy.zeros(3),)
    for _ in range(2):
        state, _ = captured(state, ())
    assert state[0].get().tolist() == [6.0] * 3
    assert_captured(runs, 1, caplog)


def test_garbage_of_the_warm_up_is_freed_before_the_capture(gpu: Any) -> None:
    memory, before = [], outside_of_the_default_pool(gpu)
    for has_cycle in (False, True):

        def step(state: Any, batch: Any, has_cycle: bool = has_cycle) -> Any:
            made = [state[0] + 1]
            made.append(made if has_cycle else state[0])
            return (made[0],), ()

        captured = gpu.backend.compile(step)
        captured((gpu.cupy.zeros(3),), ())
        memory.append(outside_of_the_default_pool(gpu) - before)
        del captured
    assert memory[0] == memory[1] > 0


def test_a_step_runs_without_a_graph_if_a_copy_of_its_state_does_not_fit(
    gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = gpu.cupy.get_default_memory_pool()
    state = (gpu.cupy.zeros(2**20),)
    pool.free_all_blocks()
    leave_free(monkeypatch, 3 * state[0].nbytes // 2)
    captured = gpu.backend.compile(lambda state, batch: ((state[0] + 1,), ()), donate=True)
    state, _ = captured(state, ())
    assert float(state[0][0]) == 1.0
    assert len(caplog.messages) == 1
    assert "Out of memory" in caplog.text
    pool.free_all_blocks()
    leave_free(monkeypatch, 0)
    with pytest.raises(MemoryError):
        captured(state, ())


# ---- failed captures ----


def assert_captured(runs: list[int], attempts: int, caplog: pytest.LogCaptureFixture) -> None:
    """A captured step runs twice in Python per attempt, for warm-up and capture, and then never again."""
    assert (len(runs), caplog.messages) == (2 * attempts, [])


def run_invalidated(gpu: Any, invalidate: Callable[[int], object]) -> list[int]:
    """Compile a step that calls ``invalidate`` with the number of the run, and call it twice; returns the runs in Python."""
    runs: list[int] = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(len(runs) + 1)
        before = add_step(state, batch)
        invalidate(len(runs))
        del before
        return add_step(state, batch)

    captured = gpu.backend.compile(step, donate=True)
    state: Any = start(gpu)
    for _ in range(2):
        state, _ = captured(state, (ones(gpu),))
    assert state[0].get().tolist() == [2.0] * 3
    return runs


def test_garbage_during_a_capture_does_not_invalidate_it(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    cycles = [GraphInCycle(gpu)]

    def invalidate(run: int) -> None:
        if run == 2:
            cycles.clear()
            [[] for _ in range(100_000)]

    gc.enable()
    assert_captured(run_invalidated(gpu, invalidate), 1, caplog)
    assert gc.isenabled()


@ignores_errors_of_destructors
@pytest.mark.parametrize("kind", ["graph", "handle"])
def test_a_capture_that_fails_once_is_retried(gpu: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    old = [empty_graph(gpu) if kind == "graph" else gemm.new_blas(gpu.cupy)]
    assert_captured(run_invalidated(gpu, lambda run: old.clear() if run == 2 else None), 2, caplog)


@ignores_errors_of_destructors
def test_a_capture_that_fails_twice_is_given_up(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    old = [empty_graph(gpu) for _ in range(2)]
    runs = run_invalidated(gpu, lambda run: old.pop() if run % 2 == 0 and old else None)
    assert len(runs) == 6
    assert len(caplog.messages) == 1
    assert "cudaErrorStreamCaptureInvalidated" in caplog.text
    assert not gpu.cupy.cuda.get_current_stream().is_capturing()


def test_a_failed_capture_frees_its_memory(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    pool = gpu.cupy.get_default_memory_pool()
    state, batch = start(gpu), (ones(gpu),)
    before = pool.used_bytes(), outside_of_the_default_pool(gpu)
    memory = []

    def step(state: Any, batch: Any) -> Any:
        memory.append((pool.used_bytes(), outside_of_the_default_pool(gpu)))
        work = state[0] * 2
        int(state[1])  # raises during capture
        return (work, state[1]), ()

    gpu.backend.compile(step, donate=True)(state, batch)
    assert memory[-1] == before  # only what the caller holds
    assert len(memory) == 5
    assert len(caplog.messages) == 1


def test_the_callers_stream_waits_for_each_attempt(gpu: Any) -> None:
    def waited() -> list[int]:
        """The streams that the caller's stream, the default one, has waited for."""
        return [stream for waiting, stream in hooks.waits() if waiting == 0]

    def failing_step(state: Any, batch: Any) -> Any:
        streams.append(gpu.cupy.cuda.get_current_stream().ptr)
        raise KeyError("mistaken")

    def uncapturable_step(state: Any, batch: Any) -> Any:
        streams.append(gpu.cupy.cuda.get_current_stream().ptr)
        int(state[1])
        return state, ()

    hooks.clear()
    streams: list[int] = []
    with pytest.raises(KeyError):
        gpu.backend.compile(failing_step, donate=True)(start(gpu), ())
    assert waited() == streams
    gpu.backend.compile(uncapturable_step, donate=True)(start(gpu), ())
    assert waited() == streams[:-1]  # the last run uses the caller's stream


def test_a_graph_that_cannot_be_uploaded_is_not_used(gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATED_CUDA_FAILS", "cudaGraphUpload")
    state, _ = gpu.backend.compile(add_step, donate=True)(start(gpu), (ones(gpu),))
    assert state[0].get().tolist() == [1.0] * 3
    assert "cudaErrorMemoryAllocation" in caplog.text


def test_a_nested_compiled_step_is_captured_with_the_outer_one(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    inner = gpu.backend.compile(add_step)
    outer = gpu.backend.compile(lambda state, batch: inner(state, batch), donate=True)
    state: Any = start(gpu)
    for _ in range(2):
        state, _ = outer(state, (ones(gpu),))
    assert state[0].get().tolist() == [2.0] * 3
    assert caplog.messages == []
