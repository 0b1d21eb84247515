"""A thread pool that runs independent tasks, such as the shards of a batch. numpy and BLAS release the GIL while they compute.

While tasks run, BLAS uses one thread in each of them. BLAS threads wait for each other by spinning, which is slow when another process
needs the cores too. BLAS uses all threads only for a large matmul in a task that runs alone.
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


def _ignore(count: int) -> None:
    """Default for BLAS libraries whose number of threads cannot be set: do nothing."""


_lock = threading.Lock()
_count = 0  # threads; 0 until `use` is called
_set_blas_threads: Callable[[int], Any] = _ignore
_workers: ThreadPoolExecutor | None = None
_single_task_thread: int | None = None  # identifier of the thread whose task runs alone


def use(count: int, set_blas_threads: Callable[[int], Any] = _ignore) -> None:
    """Set the number of threads to ``count``. ``set_blas_threads(n)`` sets that of BLAS, which is ``count`` while no task runs."""
    global _count, _set_blas_threads, _workers
    if count > 1:  # switch interval of 50 microseconds, not 5,000: the threads need the GIL often, and briefly
        sys.setswitchinterval(5e-5)
    with _lock:
        _count, _set_blas_threads, _workers = count, set_blas_threads, None


def count() -> int:
    """Number of tasks that `run` executes in parallel; 1 until `use` is called."""
    return _count or 1


def at_most_two() -> bool:
    """Whether `use` was called with one or two threads. One core can then use nearly all of the memory bandwidth."""
    return 0 < _count <= 2


def run(thunks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run independent tasks in parallel and return their results in order. The first error is raised after all tasks have ended.

    Each task runs in a copy of the caller's context. A task that runs alone may call `run` itself. Tasks run sequentially if there is only
    one thread, or if the threads are busy.
    """
    global _single_task_thread
    if _count < 2 or not thunks:
        return [thunk() for thunk in thunks]
    caller = threading.get_ident()
    if _single_task_thread == caller:
        if len(thunks) == 1:
            return [thunks[0]()]
        _single_task_thread = None
        try:
            return _run_parallel(thunks)
        finally:
            _single_task_thread = caller
    if not _lock.acquire(blocking=False):
        return [thunk() for thunk in thunks]
    try:
        _set_blas_threads(1)
        if len(thunks) > 1:
            return _run_parallel(thunks)
        _single_task_thread = caller
        return [thunks[0]()]
    finally:
        _single_task_thread = None
        _set_blas_threads(_count)
        _lock.release()


def _run_parallel(thunks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the first task in the caller's thread and the others in the pool."""
    first_thunk, *other_thunks = thunks
    pool = _pool()
    futures = [pool.submit(copy_context().run, thunk) for thunk in other_thunks]
    try:
        result = copy_context().run(first_thunk)
    finally:
        for future in futures:
            future.exception()  # wait: no task may outlive this call
    return [result, *[future.result() for future in futures]]


@contextmanager
def all_for_blas() -> Iterator[None]:
    """Let BLAS use all threads inside a ``with`` block, if the calling task runs alone."""
    if _single_task_thread != threading.get_ident():
        yield
        return
    _set_blas_threads(_count)
    try:
        yield
    finally:
        _set_blas_threads(1)


def _pool() -> ThreadPoolExecutor:
    """The pool of ``count - 1`` worker threads, created at the first use."""
    global _workers
    if _workers is None:
        _workers = ThreadPoolExecutor(_count - 1, thread_name_prefix="tinytorch")
    return _workers


def _after_fork() -> None:
    """Reset the pool: a forked process has no threads of its parent."""
    global _lock, _workers
    _lock, _workers = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
