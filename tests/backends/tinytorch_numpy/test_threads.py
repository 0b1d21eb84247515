"""Tasks that run in parallel threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from tinytorch_numpy import threads
from tinytorch_numpy.backend import NumpyBackend

context_value: ContextVar[str] = ContextVar("context_value", default="unset")


@pytest.fixture
def blas_threads() -> Iterator[list[int]]:
    """Use two threads; returns the numbers of threads that BLAS is set to."""
    calls: list[int] = []
    threads.use(2, calls.append)
    yield calls
    threads.use(1)


def test_tasks_run_in_parallel_and_results_are_in_order(blas_threads: list[int]) -> None:
    barrier = threading.Barrier(2, timeout=30)

    def task(name: str) -> str:
        barrier.wait()  # returns only if both threads wait here
        return name

    assert threads.run([lambda: task("first"), lambda: task("second")]) == ["first", "second"]


def test_blas_uses_one_thread_in_each_task_and_all_afterwards(blas_threads: list[int]) -> None:
    seen = threads.run([lambda: blas_threads[-1], lambda: blas_threads[-1]])
    assert seen == [1, 1]
    assert blas_threads[-1] == 2


def test_more_tasks_than_threads_all_run(blas_threads: list[int]) -> None:
    assert threads.run([lambda i=i: i for i in range(7)]) == list(range(7))


def test_tasks_see_the_context_variables_of_the_caller(blas_threads: list[int]) -> None:
    token = context_value.set("set by caller")
    assert threads.run([context_value.get, context_value.get]) == ["set by caller", "set by caller"]
    context_value.reset(token)


def test_nested_tasks_run_sequentially(blas_threads: list[int]) -> None:
    def task() -> list[int]:
        return threads.run([threading.get_ident, threading.get_ident])

    for inner in threads.run([task, task]):
        assert inner[0] == inner[1]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_after_all_tasks_have_ended(blas_threads: list[int], failing: int) -> None:
    ended = []

    def task(number: int) -> None:
        if number == failing:
            raise RuntimeError("broken")
        ended.append(number)

    with pytest.raises(RuntimeError, match="broken"):
        threads.run([lambda: task(0), lambda: task(1)])
    assert ended == [1 - failing]
    assert threads.run([lambda: 1, lambda: 2]) == [1, 2]


def test_one_thread_runs_tasks_sequentially() -> None:
    threads.use(1)
    here = threading.get_ident()
    assert threads.run([threading.get_ident, threading.get_ident]) == [here, here]


def test_large_batches_of_many_terms_are_sharded_over_the_threads(blas_threads: list[int]) -> None:
    backend = NumpyBackend()
    assert backend.shard_count(terms=768, parameters=800_000) == 2
    assert backend.shard_count(terms=128, parameters=3_700_000) == 1  # the sum of the gradients would cost more than a thread saves
    assert backend.shard_count(terms=512, parameters=60_000) == 2
    assert backend.shard_count(terms=4, parameters=33) == 1  # faster than starting a task in a thread


def test_blas_uses_all_threads_only_in_a_single_task(blas_threads: list[int]) -> None:
    def task() -> int:
        with threads.all_for_blas():
            return blas_threads[-1]

    assert threads.run([task]) == [2]
    assert blas_threads == [1, 2, 1, 2]
    assert threads.run([task, task]) == [1, 1]


def test_a_single_task_can_run_subtasks(blas_threads: list[int]) -> None:
    barrier = threading.Barrier(2, timeout=30)

    def subtask() -> int:
        barrier.wait()  # returns only if both threads wait here
        with threads.all_for_blas():
            return blas_threads[-1]

    def task() -> tuple[list[int], int]:
        results = threads.run([subtask, subtask])
        with threads.all_for_blas():  # the only task again
            return results, blas_threads[-1]

    assert threads.run([task]) == [([1, 1], 2)]
    assert blas_threads[-1] == 2
