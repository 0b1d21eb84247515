"""What a capture owns, what outlives it, and how failed captures are handled."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.backends.tinytorch_cupy.fake_runtime import CUDARuntimeError, Graph
from tests.backends.tinytorch_cupy.test_graph import add_step, losses, start
from tinytorch_cupy import gemm


@pytest.fixture(autouse=True)
def _without_automatic_collection() -> Iterator[None]:
    """Disable automatic garbage collection."""
    gc.disable()
    yield
    gc.enable()


def ones(fake_gpu: Any) -> Any:
    return fake_gpu.cupy.ones(3)


class GraphInCycle:
    """A graph in a reference cycle, which only the garbage collector can destroy."""

    def __init__(self, fake_gpu: Any) -> None:
        captured = fake_gpu.backend.compile(add_step, donate=True)
        captured(start(fake_gpu), (ones(fake_gpu),))
        self.all = [captured, self]


# ---- memory ----


def test_a_returned_state_outlives_its_step(fake_gpu: Any) -> None:
    captured = fake_gpu.backend.compile(add_step, donate=True)
    state, (doubled,) = captured(start(fake_gpu), (ones(fake_gpu),))
    del captured
    assert state[0].get().tolist() == [1.0] * 3
    assert doubled.get().tolist() == [0.0] * 3


def test_a_second_training_in_a_process_matches_the_first(fake_gpu: Any) -> None:
    first = losses()
    gc.collect()
    assert losses() == first


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_captured_column_sums_survive_sums_of_other_lengths(fake_gpu: Any, dtype: str) -> None:
    captured = fake_gpu.backend.compile(lambda state, batch: ((), (gemm.column_sums(batch[0]),)))
    sevens = fake_gpu.cupy.ones((7, 2), dtype=dtype)
    for _ in range(2):
        _, (sums,) = captured((), (sevens,))
        assert sums.get().tolist() == [7.0, 7.0]
        for count in range(1, 80):
            gemm.column_sums(fake_gpu.cupy.ones((count, 1), dtype=dtype))


def test_a_destroyed_graph_frees_its_memory(fake_gpu: Any) -> None:
    gpu, pool = fake_gpu.cupy.gpu, fake_gpu.cupy.get_default_memory_pool()
    captured = fake_gpu.backend.compile(add_step, donate=True)
    captured(start(fake_gpu), (ones(fake_gpu),))
    assert gpu.allocated > pool.total_bytes()
    del captured
    assert gpu.allocated == pool.total_bytes()  # the graph's own pool is gone
    assert pool.used_bytes() == 0


def test_a_step_is_not_captured_if_its_pool_runs_out_of_memory(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu = fake_gpu.cupy.gpu
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        new = (state[0] + 1) * 2  # from here on the block of the sum is free
        if len(runs) % 2 == 0:  # during capture it needs more memory than before, which is not available
            gpu.capacity = gpu.allocated + 512
            fake_gpu.cupy.empty(256, dtype="float32")
            gpu.capacity = 80 << 30
        return (new,), ()

    captured = fake_gpu.backend.compile(step, donate=True)
    state: Any = (fake_gpu.cupy.zeros(3),)
    for _ in range(2):
        state, _ = captured(state, ())
        gpu.capacity = 80 << 30
    assert state[0].get().tolist() == [6.0] * 3
    assert len(runs) == 6
    assert "out of memory" in caplog.text


def test_a_memory_limit_does_not_free_blocks_of_a_graph(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake_gpu.cupy.machine.limit = 3 * 512
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        new = (state[0] + 1) * 2
        if len(runs) == 2:
            fake_gpu.cupy.empty(256, dtype="float32")
        return (new,), ()

    captured = fake_gpu.backend.compile(step, donate=True)
    state: Any = (fake_gpu.cupy.zeros(3),)
    for _ in range(2):
        state, _ = captured(state, ())
    assert state[0].get().tolist() == [6.0] * 3
    assert_captured(runs, 1, caplog)


def test_garbage_of_the_warm_up_is_freed_before_the_capture(fake_gpu: Any) -> None:
    memory = []
    for has_cycle in (False, True):

        def step(state: Any, batch: Any, has_cycle: bool = has_cycle) -> Any:
            made = [state[0] + 1]
            made.append(made if has_cycle else state[0])
            return (made[0],), ()

        captured = fake_gpu.backend.compile(step)
        captured((fake_gpu.cupy.zeros(3),), ())
        memory.append(fake_gpu.cupy.gpu.allocated - fake_gpu.cupy.get_default_memory_pool().total_bytes())
        del captured
    assert memory[0] == memory[1] > 0


def test_a_step_runs_without_a_graph_if_a_copy_of_its_state_does_not_fit(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu = fake_gpu.cupy.gpu
    state = (fake_gpu.cupy.zeros(2**20),)
    gpu.capacity = gpu.allocated + 3 * state[0].nbytes // 2
    captured = fake_gpu.backend.compile(lambda state, batch: ((state[0] + 1,), ()), donate=True)
    state, _ = captured(state, ())
    assert float(state[0][0]) == 1.0
    assert len(caplog.messages) == 1
    assert "Out of memory" in caplog.text
    fake_gpu.cupy.get_default_memory_pool().free_all_blocks()
    gpu.capacity = gpu.allocated
    with pytest.raises(MemoryError):
        captured(state, ())


# ---- failed captures ----


def assert_captured(runs: list[int], attempts: int, caplog: pytest.LogCaptureFixture) -> None:
    """A captured step runs twice in Python per attempt, for warm-up and capture, and then never again."""
    assert (len(runs), caplog.messages) == (2 * attempts, [])


def run_invalidated(fake_gpu: Any, invalidate: Callable[[int], object]) -> list[int]:
    """Compile a step that calls ``invalidate`` with the number of the run, and call it twice; returns the runs in Python."""
    runs: list[int] = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(len(runs) + 1)
        before = add_step(state, batch)
        invalidate(len(runs))
        del before
        return add_step(state, batch)

    captured = fake_gpu.backend.compile(step, donate=True)
    state: Any = start(fake_gpu)
    for _ in range(2):
        state, _ = captured(state, (ones(fake_gpu),))
    assert state[0].get().tolist() == [2.0] * 3
    return runs


def test_garbage_during_a_capture_does_not_invalidate_it(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    cycles = [GraphInCycle(fake_gpu)]

    def invalidate(run: int) -> None:
        if run == 2:
            cycles.clear()
            [[] for _ in range(100_000)]

    gc.enable()
    assert_captured(run_invalidated(fake_gpu, invalidate), 1, caplog)
    assert gc.isenabled()


@pytest.mark.parametrize("kind", ["graph", "handle"])
def test_a_capture_that_fails_once_is_retried(fake_gpu: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    old = [Graph(fake_gpu.cupy.gpu, [], set()) if kind == "graph" else gemm.new_blas(fake_gpu.cupy)]
    assert_captured(run_invalidated(fake_gpu, lambda run: old.clear() if run == 2 else None), 2, caplog)


def test_a_capture_that_fails_twice_is_given_up(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    old = [Graph(fake_gpu.cupy.gpu, [], set()) for _ in range(2)]
    runs = run_invalidated(fake_gpu, lambda run: old.pop() if run % 2 == 0 and old else None)
    assert len(runs) == 6
    assert len(caplog.messages) == 1
    assert "cudaErrorStreamCaptureInvalidated" in caplog.text
    assert fake_gpu.cupy.gpu.graph is None


def test_a_failed_capture_frees_its_memory(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu, pool = fake_gpu.cupy.gpu, fake_gpu.cupy.get_default_memory_pool()
    state, batch = start(fake_gpu), (ones(fake_gpu),)
    before = pool.used_bytes()
    memory = []

    def step(state: Any, batch: Any) -> Any:
        memory.append((pool.used_bytes(), gpu.allocated - pool.total_bytes()))
        work = state[0] * 2
        int(state[1])  # raises during capture
        return (work, state[1]), ()

    fake_gpu.backend.compile(step, donate=True)(state, batch)
    assert memory[-1] == (before, 0)  # only what the caller holds
    assert len(memory) == 5
    assert len(caplog.messages) == 1


def test_the_callers_stream_waits_for_each_attempt(fake_gpu: Any) -> None:
    caller = fake_gpu.cupy.cuda.get_current_stream()

    def failing_step(state: Any, batch: Any) -> Any:
        streams.append(fake_gpu.cupy.cuda.get_current_stream())
        raise KeyError("mistaken")

    def uncapturable_step(state: Any, batch: Any) -> Any:
        streams.append(fake_gpu.cupy.cuda.get_current_stream())
        int(state[1])
        return state, ()

    streams: list[Any] = []
    with pytest.raises(KeyError):
        fake_gpu.backend.compile(failing_step, donate=True)(start(fake_gpu), ())
    assert caller.waited == streams
    fake_gpu.backend.compile(uncapturable_step, donate=True)(start(fake_gpu), ())
    assert caller.waited == streams[:-1]  # the last run uses the caller's stream


def test_a_graph_that_cannot_be_uploaded_is_not_used(
    fake_gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(self: Graph, stream: Any = None) -> None:
        raise CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(Graph, "upload", upload)
    state, _ = fake_gpu.backend.compile(add_step, donate=True)(start(fake_gpu), (ones(fake_gpu),))
    assert state[0].get().tolist() == [1.0] * 3
    assert "cudaErrorMemoryAllocation" in caplog.text


def test_a_nested_compiled_step_is_captured_with_the_outer_one(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    inner = fake_gpu.backend.compile(add_step)
    outer = fake_gpu.backend.compile(lambda state, batch: inner(state, batch), donate=True)
    state: Any = start(fake_gpu)
    for _ in range(2):
        state, _ = outer(state, (ones(fake_gpu),))
    assert state[0].get().tolist() == [2.0] * 3
    assert caplog.messages == []
