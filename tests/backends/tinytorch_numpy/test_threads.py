"""Pieces of work that threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from tinytorch_numpy import threads
from tinytorch_numpy.backend import NumpyBackend

place: ContextVar[str] = ContextVar("place", default="nowhere")


@pytest.fixture
def blas_threads() -> Iterator[list[int]]:
    """Two threads; what BLAS is told meanwhile."""
    told: list[int] = []
    threads.use(2, told.append)
    yield told
    threads.use(1)


def test_pieces_run_at_the_same_time_and_their_results_come_in_order(blas_threads: list[int]) -> None:
    meet = threading.Barrier(2, timeout=30)

    def piece(name: str) -> str:
        meet.wait()  # passes only where both are here
        return name

    assert threads.run([lambda: piece("first"), lambda: piece("second")]) == ["first", "second"]


def test_blas_takes_one_thread_in_each_piece_and_all_afterwards(blas_threads: list[int]) -> None:
    seen = threads.run([lambda: blas_threads[-1], lambda: blas_threads[-1]])
    assert seen == [1, 1]
    assert blas_threads[-1] == 2


def test_more_pieces_than_threads_are_all_done(blas_threads: list[int]) -> None:
    assert threads.run([lambda i=i: i for i in range(7)]) == list(range(7))


def test_pieces_see_the_callers_context(blas_threads: list[int]) -> None:
    token = place.set("here")
    assert threads.run([place.get, place.get]) == ["here", "here"]
    place.reset(token)


def test_pieces_within_a_piece_run_one_after_another(blas_threads: list[int]) -> None:
    def piece() -> list[int]:
        return threads.run([threading.get_ident, threading.get_ident])

    for inner in threads.run([piece, piece]):
        assert inner[0] == inner[1]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_when_all_pieces_have_ended(blas_threads: list[int], failing: int) -> None:
    ended = []

    def piece(number: int) -> None:
        if number == failing:
            raise RuntimeError("broken")
        ended.append(number)

    with pytest.raises(RuntimeError, match="broken"):
        threads.run([lambda: piece(0), lambda: piece(1)])
    assert ended == [1 - failing]
    assert threads.run([lambda: 1, lambda: 2]) == [1, 2]


def test_one_thread_takes_piece_after_piece() -> None:
    threads.use(1)
    here = threading.get_ident()
    assert threads.run([threading.get_ident, threading.get_ident]) == [here, here]


def test_large_batches_of_many_terms_are_sharded_over_the_threads(blas_threads: list[int]) -> None:
    backend = NumpyBackend()
    assert backend.shard_count(terms=768, parameters=800_000) == 2
    assert backend.shard_count(terms=128, parameters=3_700_000) == 1  # adding up would cost more than a thread gains
    assert backend.shard_count(terms=512, parameters=60_000) == 2
    assert backend.shard_count(terms=4, parameters=33) == 1  # faster than the hand-over to a thread


def test_blas_gets_all_threads_only_in_a_piece_that_is_alone(blas_threads: list[int]) -> None:
    def piece() -> int:
        with threads.all_for_blas():
            return blas_threads[-1]

    assert threads.run([piece]) == [2]
    assert blas_threads == [1, 2, 1, 2]
    assert threads.run([piece, piece]) == [1, 1]


def test_a_piece_that_is_alone_may_share_out_its_work(blas_threads: list[int]) -> None:
    meet = threading.Barrier(2, timeout=30)

    def part() -> int:
        meet.wait()  # passes only where both are here
        with threads.all_for_blas():
            return blas_threads[-1]

    def piece() -> tuple[list[int], int]:
        shared = threads.run([part, part])
        with threads.all_for_blas():  # alone again
            return shared, blas_threads[-1]

    assert threads.run([piece]) == [([1, 1], 2)]
    assert blas_threads[-1] == 2
