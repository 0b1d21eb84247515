"""What a capture owns, what outlives it, and how a capture that breaks is handled."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

from tests.backends.tinytorch_cupy.fake_runtime import CUDARuntimeError, Graph
from tests.backends.tinytorch_cupy.test_graph import losses, moved, start
from tinytorch_cupy import gemm


@pytest.fixture(autouse=True)
def _without_luck() -> Iterator[None]:
    """Nothing is collected but where the code asks for it."""
    gc.disable()
    yield
    gc.enable()


def ones(fake_gpu: Any) -> Any:
    return fake_gpu.cupy.ones(3)


class Chain:
    """A graph that only the garbage collector can destroy."""

    def __init__(self, fake_gpu: Any) -> None:
        captured = fake_gpu.backend.compile(moved, donate=True)
        captured(start(fake_gpu), (ones(fake_gpu),))
        self.all = [captured, self]


# ---- memory ----


def test_a_state_that_was_given_out_outlives_its_step(fake_gpu: Any) -> None:
    captured = fake_gpu.backend.compile(moved, donate=True)
    state, (doubled,) = captured(start(fake_gpu), (ones(fake_gpu),))
    del captured
    assert state[0].get().tolist() == [1.0] * 3
    assert doubled.get().tolist() == [0.0] * 3


def test_a_second_training_in_a_process_learns_as_the_first(fake_gpu: Any) -> None:
    first = losses()
    gc.collect()
    assert losses() == first


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_captured_sum_of_columns_is_right_after_sums_of_many_other_lengths(fake_gpu: Any, dtype: str) -> None:
    captured = fake_gpu.backend.compile(lambda state, batch: ((), (gemm.column_sums(batch[0]),)))
    sevens = fake_gpu.cupy.ones((7, 2), dtype=dtype)
    for _ in range(2):
        _, (sums,) = captured((), (sevens,))
        assert sums.get().tolist() == [7.0, 7.0]
        for count in range(1, 80):
            gemm.column_sums(fake_gpu.cupy.ones((count, 1), dtype=dtype))


def test_a_graph_takes_its_memory_with_it(fake_gpu: Any) -> None:
    gpu, pool = fake_gpu.cupy.gpu, fake_gpu.cupy.get_default_memory_pool()
    captured = fake_gpu.backend.compile(moved, donate=True)
    captured(start(fake_gpu), (ones(fake_gpu),))
    assert gpu.allocated > pool.total_bytes()
    del captured
    assert gpu.allocated == pool.total_bytes()  # the graph's own pool is gone
    assert pool.used_bytes() == 0


def test_a_graph_whose_pool_would_have_to_free_blocks_that_it_uses_is_not_captured(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu = fake_gpu.cupy.gpu
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        new = (state[0] + 1) * 2  # the sum's block is idle from here on
        if len(runs) % 2 == 0:  # when it is recorded it needs more than before, and there is no more
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


def test_a_limit_of_pools_does_not_make_a_graph_lose_blocks_that_it_uses(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
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


def test_garbage_of_the_first_run_takes_no_memory_from_the_graph(fake_gpu: Any) -> None:
    held = []
    for keeps_itself in (False, True):

        def step(state: Any, batch: Any, keeps_itself: bool = keeps_itself) -> Any:
            made = [state[0] + 1]
            made.append(made if keeps_itself else state[0])
            return (made[0],), ()

        captured = fake_gpu.backend.compile(step)
        captured((fake_gpu.cupy.zeros(3),), ())
        held.append(fake_gpu.cupy.gpu.allocated - fake_gpu.cupy.get_default_memory_pool().total_bytes())
        del captured
    assert held[0] == held[1] > 0


def test_a_step_that_fits_but_not_with_a_copy_of_its_state_is_run_as_it_is(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
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


# ---- captures that break ----


def assert_captured(runs: list[int], attempts: int, caplog: pytest.LogCaptureFixture) -> None:
    """A step that is captured runs twice in Python, once as it is, and then never again."""
    assert (len(runs), caplog.messages) == (2 * attempts, [])


def disturbed(fake_gpu: Any, disturb: Callable[[int], object]) -> list[int]:
    """Compile and run a step twice that calls ``disturb`` with the number of the run; the runs in Python."""
    runs: list[int] = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(len(runs) + 1)
        before = moved(state, batch)
        disturb(len(runs))
        del before
        return moved(state, batch)

    captured = fake_gpu.backend.compile(step, donate=True)
    state: Any = start(fake_gpu)
    for _ in range(2):
        state, _ = captured(state, (ones(fake_gpu),))
    assert state[0].get().tolist() == [2.0] * 3
    return runs


def test_garbage_that_arises_while_a_step_is_captured_does_not_break_it(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    chains = [Chain(fake_gpu)]

    def disturb(run: int) -> None:
        if run == 2:
            chains.clear()
            [[] for _ in range(100_000)]

    gc.enable()
    assert_captured(disturbed(fake_gpu, disturb), 1, caplog)
    assert gc.isenabled()


@pytest.mark.parametrize("kind", ["graph", "handle"])
def test_a_capture_that_breaks_once_is_tried_again(fake_gpu: Any, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    old = [Graph(fake_gpu.cupy.gpu, [], set()) if kind == "graph" else gemm.new_blas(fake_gpu.cupy)]
    assert_captured(disturbed(fake_gpu, lambda run: old.clear() if run == 2 else None), 2, caplog)


def test_a_capture_that_breaks_twice_is_given_up(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    old = [Graph(fake_gpu.cupy.gpu, [], set()) for _ in range(2)]
    runs = disturbed(fake_gpu, lambda run: old.pop() if run % 2 == 0 and old else None)
    assert len(runs) == 6
    assert len(caplog.messages) == 1
    assert "cudaErrorStreamCaptureInvalidated" in caplog.text
    assert fake_gpu.cupy.gpu.graph is None


def test_a_step_that_is_not_captured_runs_with_the_memory_that_it_alone_needs(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu, pool = fake_gpu.cupy.gpu, fake_gpu.cupy.get_default_memory_pool()
    state, batch = start(fake_gpu), (ones(fake_gpu),)
    before = pool.used_bytes()
    held = []

    def step(state: Any, batch: Any) -> Any:
        held.append((pool.used_bytes(), gpu.allocated - pool.total_bytes()))
        work = state[0] * 2
        int(state[1])  # which is refused while it is captured
        return (work, state[1]), ()

    fake_gpu.backend.compile(step, donate=True)(state, batch)
    assert held[-1] == (before, 0)  # nothing beside what the caller holds
    assert len(held) == 5
    assert len(caplog.messages) == 1


def test_the_caller_waits_for_what_an_attempt_launched_before_it_takes_the_memory_again(fake_gpu: Any) -> None:
    caller = fake_gpu.cupy.cuda.get_current_stream()

    def mistaken(state: Any, batch: Any) -> Any:
        streams.append(fake_gpu.cupy.cuda.get_current_stream())
        raise KeyError("mistaken")

    def refused(state: Any, batch: Any) -> Any:
        streams.append(fake_gpu.cupy.cuda.get_current_stream())
        int(state[1])
        return state, ()

    streams: list[Any] = []
    with pytest.raises(KeyError):
        fake_gpu.backend.compile(mistaken, donate=True)(start(fake_gpu), ())
    assert caller.waited == streams
    fake_gpu.backend.compile(refused, donate=True)(start(fake_gpu), ())
    assert caller.waited == [streams[0], streams[1], streams[3]]  # two runs an attempt, and the last is the caller's own


def test_a_graph_that_cannot_be_sent_to_the_gpu_is_refused(
    fake_gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(self: Graph, stream: Any = None) -> None:
        raise CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(Graph, "upload", upload)
    state, _ = fake_gpu.backend.compile(moved, donate=True)(start(fake_gpu), (ones(fake_gpu),))
    assert state[0].get().tolist() == [1.0] * 3
    assert "cudaErrorMemoryAllocation" in caplog.text


@pytest.mark.parametrize("name", ["argsort", "sort", "unique_all", "unique_counts", "unique_inverse", "unique_values"])
def test_a_step_that_sorts_is_run_as_it_is(fake_gpu: Any, caplog: pytest.LogCaptureFixture, name: str) -> None:
    def step(state: Any, batch: Any) -> Any:
        found = getattr(fake_gpu.backend.xp, name)(batch[0])
        return (), (found[0] if isinstance(found, tuple) else found,)

    with caplog.at_level(logging.WARNING):
        _, (out,) = fake_gpu.backend.compile(step)((), (fake_gpu.cupy.asarray(numpy.float32([3, 1, 2])),))
    assert out.get().tolist() == ([1, 2, 0] if name == "argsort" else [1.0, 2.0, 3.0])
    assert f"{name} cannot be captured" in caplog.text


def test_a_compiled_step_inside_another_is_captured_with_it(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    inner = fake_gpu.backend.compile(moved)
    outer = fake_gpu.backend.compile(lambda state, batch: inner(state, batch), donate=True)
    state: Any = start(fake_gpu)
    for _ in range(2):
        state, _ = outer(state, (ones(fake_gpu),))
    assert state[0].get().tolist() == [2.0] * 3
    assert caplog.messages == []
