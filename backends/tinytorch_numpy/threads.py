"""Threads that run independent tasks, such as the shards of a batch. numpy releases Python's lock in its loops, and BLAS in its matmuls.

Meanwhile BLAS uses one thread in each task, instead of several for one matmul after another: those wait for each other by spinning, which
is slow where another process needs the cores too. BLAS gets all threads only for a large matmul in a task that runs alone.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any


def _no_blas(count: int) -> None:
    """BLAS stays as it is until `use` is told how to set its threads."""


_lock = threading.Lock()
_count = 0  # threads; 0 until `use` is called
_set_blas_threads: Callable[[int], Any] = _no_blas
_helpers: ThreadPoolExecutor | None = None
_alone: int | None = None  # the thread whose task runs alone


def use(count: int, set_blas_threads: Callable[[int], Any] = _no_blas) -> None:
    """Run tasks in ``count`` threads from now on. ``set_blas_threads`` sets BLAS's threads, which are ``count`` while no task runs."""
    global _count, _set_blas_threads, _helpers
    if count > 1:  # a thread that wants Python's lock asks for it after 50 microseconds, not 5,000: they need it often, and not for long
        sys.setswitchinterval(5e-5)
    with _lock:
        _count, _set_blas_threads, _helpers = count, set_blas_threads, None


def count() -> int:
    """Number of tasks that `run` executes in parallel; 1 until `use` is called."""
    return _count or 1


def at_most_two() -> bool:
    """Whether `use` was called, for one core or two. One core can then read memory nearly as fast as all of them."""
    return 0 < _count <= 2


def run(thunks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run independent tasks in parallel and return their results in order; the first error is raised when all have ended.

    Each runs in a copy of the caller's context. A task that runs alone may call `run` in turn. Tasks run one after another where there is
    one thread, or all threads are busy.
    """
    global _alone
    if _count < 2 or not thunks:
        return [thunk() for thunk in thunks]
    caller = threading.get_ident()
    if _alone == caller:
        if len(thunks) == 1:
            return [thunks[0]()]
        _alone = None
        try:
            return _at_once(thunks)
        finally:
            _alone = caller
    if not _lock.acquire(blocking=False):
        return [thunk() for thunk in thunks]
    try:
        _set_blas_threads(1)
        if len(thunks) > 1:
            return _at_once(thunks)
        _alone = caller
        return [thunks[0]()]
    finally:
        _alone = None
        _set_blas_threads(_count)
        _lock.release()


def _at_once(thunks: Sequence[Callable[[], Any]]) -> list[Any]:
    """The first in the caller's thread, the others in threads beside it."""
    own, *others = thunks
    pool = _pool()
    futures = [pool.submit(copy_context().run, thunk) for thunk in others]
    try:
        first = copy_context().run(own)
    finally:
        for future in futures:
            future.exception()  # waits: none may go on while the caller has gone
    return [first, *[future.result() for future in futures]]


@contextmanager
def all_for_blas() -> Iterator[None]:
    """Let BLAS use all threads inside a ``with`` block, if the calling task runs alone."""
    if _alone != threading.get_ident():
        yield
        return
    _set_blas_threads(_count)
    try:
        yield
    finally:
        _set_blas_threads(1)


def _pool() -> ThreadPoolExecutor:
    """Threads beside the caller's, made when they are first needed."""
    global _helpers
    if _helpers is None:
        _helpers = ThreadPoolExecutor(_count - 1, thread_name_prefix="tinytorch")
    return _helpers


def _after_fork() -> None:
    """A forked process has none of its parent's threads."""
    global _lock, _helpers
    _lock, _helpers = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
