"""Steps of fixed shapes as CUDA graphs: captured once, and replayed with one launch (CUDA C++ Programming Guide, "CUDA Graphs").

A graph contains fixed addresses. So the inputs of a step are copied into static buffers, the new state is copied back into them, and
intermediate results are allocated from a private memory pool. The capture owns the buffers, the pool and a cuBLAS handle with its
workspaces, and keeps them alive as long as the graph.

A new graph is verified before it is used: it is launched once on the arrays of the first call, and its results must equal those of the step
itself bit for bit. Kernels, matmuls and reductions give the same bits in a graph, so any difference is an error of the capture. The only
exception are atomic additions (`add_rows`), whose order varies: arrays that differ between two runs of the step itself are not compared.
"""

from __future__ import annotations

import gc
import logging
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from tinytorch.backend.contract import Array, Step
from tinytorch.io.errors import InputError
from tinytorch_cupy import gemm
from tinytorch_cupy.checksum import Checksum

ENVIRONMENT_VARIABLE: Final = "TINYTORCH_GRAPH"
_log: Final = logging.getLogger("tinytorch")

#: Number of attempts, because a capture can fail for an external reason, such as another thread that destroys a graph meanwhile.
_ATTEMPTS: Final = 2

Arrays = tuple[Array, ...]


def is_enabled() -> bool:
    """Whether steps are captured, which ``TINYTORCH_GRAPH=off`` turns off. Raises `InputError` for values other than ``on`` and ``off``."""
    value = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if value.lower() not in ("", "on", "off"):
        raise InputError(f"{ENVIRONMENT_VARIABLE} must be 'on' or 'off', got {value!r}")
    return value.lower() != "off"


class CapturedStep:
    """``step(state, batch) -> (state, aux)``, captured at its first call, once for each set of shapes.

    If the capture fails, because cupy or CUDA does not support an operation, memory is exhausted or the graph computes something else than
    the step, the step runs without a graph from then on, and a warning is logged.

    Args:
        cupy: the module.
        gpu: the device of the arrays; each call makes it the current one.
        step: the step; it must not read device values on the host.
        donate: whether the state is donated. If so, the returned state is the graph's own buffers, and passing it to the next call
            overwrites it. Otherwise each call returns copies.

    A returned state that is still referenced is not overwritten by calls with other states: those use another capture.
    """

    def __init__(self, cupy: Any, gpu: Any, step: Step, donate: bool) -> None:
        self._cupy = cupy
        self._gpu = gpu
        self._step = step
        self._donate = donate
        self._captured: dict[Any, list[_Capture]] = {}
        self._not_capturable: set[Any] = set()

    def __call__(self, state: Arrays, batch: Arrays) -> tuple[Arrays, Arrays]:
        self._gpu.use()
        if self._cupy.cuda.get_current_stream().is_capturing():  # this step is part of another capture
            return self._step(state, batch)
        shapes = tuple((array.shape, array.dtype) for array in (*state, *batch)), len(state)
        captured = self._find(shapes, state) or self._capture(shapes, state, batch)
        if captured is None:  # outside of _capture, so that the memory of failed attempts is freed
            return self._step(state, batch)
        return captured(state, batch, self._donate)

    def _find(self, shapes: Any, state: Arrays) -> _Capture | None:
        """The capture whose buffers hold ``state``, or one whose state is no longer referenced."""
        captures = self._captured.get(shapes, [])
        holding = next((capture for capture in captures if capture.holds(state)), None)
        return holding or next((capture for capture in captures if capture.is_free()), None)

    def _capture(self, shapes: Any, state: Arrays, batch: Arrays) -> _Capture | None:
        """A new capture; ``None`` if the step cannot be captured."""
        if shapes in self._not_capturable:
            return None
        reason = ""
        for _ in range(_ATTEMPTS):
            try:
                captured = _Capture(self._cupy, self._step, state, batch)
            except (_CaptureError, MemoryError) as error:
                reason = _one_line(error.__cause__ or error)  # as text: the traceback references all memory of the attempt
            else:
                self._captured.setdefault(shapes, []).append(captured)
                return captured
        _log.warning("the step runs without a CUDA graph, because its capture failed (%s)", reason)
        self._not_capturable.add(shapes)
        return None


class _CaptureError(Exception):
    """The step runs, but cannot be captured. ``__cause__`` is the error that says why."""


class GraphMismatchError(RuntimeError):
    """A graph computes something else than the step that was captured."""


class _Capture:
    """A verified graph, and the objects that must live as long as the graph.

    Raises:
        _CaptureError: if the step cannot be captured, or the graph is wrong. Errors that the step itself raises are passed on.
        MemoryError: if the GPU has not enough memory for the step and a copy of the state.
    """

    def __init__(self, cupy: Any, step: Step, state: Arrays, batch: Arrays) -> None:
        self._cupy = cupy
        self._gpu = cupy.cuda.Device()
        self._graph: Any = None
        self._aux: Arrays = ()
        self._pool = cupy.cuda.MemoryPool(partial(_allocate, cupy))
        cupy.get_default_memory_pool().free_all_blocks()  # the graph's pool cannot use free blocks of the default pool
        # From the caller's pool: a returned state may outlive the graph, and memory is freed with its pool.
        self._state = _copies(state)
        self._batch = _copies(batch)
        self._copied: list[Array | None] = [None] * len(batch)
        self._returned: Callable[[], Array | None] = lambda: None  # the last array of the returned state, while it is referenced
        self._blas = gemm.new_blas(cupy)
        self._stream = cupy.cuda.Stream(non_blocking=True)
        checksum = Checksum(cupy)
        # Warm-up: compiles kernels, initializes libraries and allocates the pool's blocks. It may overwrite the copy of the state.
        expected = self._run(step, checksum)
        with self._own_resources():
            self._graph, self._aux = self._record(step)
        self._verify(step, state, batch, expected, checksum)

    def __del__(self) -> None:
        self._graph, self._aux = None, ()
        with self._gpu:
            self._pool.free_all_blocks()  # cupy 14.2 does not free the blocks of a destroyed pool

    @contextmanager
    def _own_resources(self) -> Iterator[None]:
        """Use the graph's stream, memory pool and cuBLAS handle inside a ``with`` block."""
        caller = self._cupy.cuda.get_current_stream()
        self._stream.wait_event(caller.record())  # the arrays may not be computed yet
        try:
            with self._stream, self._cupy.cuda.using_allocator(self._pool.malloc), gemm.using(self._blas):
                yield
        finally:
            caller.wait_event(self._stream.record())  # also after a failure: the copies' memory returns to the caller's pool

    def _run(self, step: Step, checksum: Checksum) -> Array:
        """Run the step itself on the copies; returns the checksums of its results, which are freed."""
        with self._own_resources():
            new, aux = step(self._state, self._batch)
        return checksum.of((*new, *aux))  # with memory of the caller's pool

    def _record(self, step: Step) -> tuple[Any, Arrays]:
        """Capture the step. Returns the graph and the buffers of ``aux``."""
        self._pool.set_limit(size=0)  # no limit: to respect one, the pool would free blocks that the graph uses
        try:
            with _no_collection():
                self._stream.begin_capture()
                try:
                    new, aux = step(self._state, self._batch)
                    _overwrite(self._cupy, self._state, new)
                except BaseException:
                    with suppress(Exception):  # ending an invalid capture raises again
                        self._stream.end_capture()
                    raise
                graph = self._stream.end_capture()
            graph.upload(self._stream)
        except Exception as error:
            raise _CaptureError from error
        return graph, tuple(aux)

    def _verify(self, step: Step, state: Arrays, batch: Arrays, expected: Array, checksum: Checksum) -> None:
        """Compare one launch of the graph with the step itself.

        Only checksums of the step's results are kept, so this needs little memory. If that is not available, the graph is not used.

        Raises:
            _CaptureError: if they differ, or if the graph cannot be launched.
        """
        try:
            self._launch(state, batch)
            differ = checksum.of((*self._state, *self._aux)) != expected
            count = int(differ.sum())  # the only read
        except MemoryError:
            raise
        except Exception as error:
            raise _CaptureError from error
        if count == 0:
            return
        self._copy_in(state, batch)
        wrong = int((differ & (self._run(step, checksum) == expected)).sum())
        if wrong:
            raise _CaptureError from GraphMismatchError(
                f"{wrong} of {len(expected)} arrays that the graph computes differ from those of the step"
            )
        _log.info("%d of %d arrays of a CUDA graph are not verified, because they differ between runs of the step", count, len(expected))

    def holds(self, state: Arrays) -> bool:
        """Whether ``state`` is the state that the last call returned."""
        return bool(state) and state[-1] is self._returned()

    def is_free(self) -> bool:
        """Whether the state that the last call returned is no longer referenced."""
        return self._returned() is None

    def _launch(self, state: Arrays, batch: Arrays) -> None:
        self._copy_in(state, batch)
        self._graph.launch()

    def _copy_in(self, state: Arrays, batch: Arrays) -> None:
        """Copy the inputs of the step into the static buffers, unless they are there already."""
        if not self.holds(state):
            for buffer, array in zip(self._state, state, strict=True):
                self._cupy.copyto(buffer, array)
        for i, (buffer, array) in enumerate(zip(self._batch, batch, strict=True)):
            if self._copied[i] is not array:  # arrays are immutable, so an array that was copied before need not be copied again
                self._cupy.copyto(buffer, array)
                self._copied[i] = array

    def __call__(self, state: Arrays, batch: Arrays, donate: bool) -> tuple[Arrays, Arrays]:
        self._launch(state, batch)
        if not donate or not state:
            return _copies(self._state), _copies(self._aux)
        last = self._state[-1].view()  # a new object, which identifies this state
        self._returned = weakref.ref(last)
        return (*self._state[:-1], last), _copies(self._aux)


def _allocate(cupy: Any, size: int) -> Any:
    """Allocate device memory for a graph's pool.

    If an allocation fails, a cupy pool frees its unused blocks and retries. During capture it must not, because the graph uses them.
    """
    try:
        return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if cupy.cuda.get_current_stream().is_capturing():
            raise MemoryError(str(error)) from None  # the pool does not handle this exception
        raise


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and disable collection inside a ``with`` block: destroying a graph or handle would invalidate the capture."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _copies(arrays: Sequence[Array]) -> Arrays:
    return tuple(array.copy() for array in arrays)


def _overwrite(cupy: Any, old: Arrays, new: Sequence[Array]) -> None:
    """Copy the new state into the static buffers. Arrays that were updated in place are there already."""
    addresses = [array.data.ptr for array in old]
    copies = [(target, value) for target, value in zip(old, new, strict=True) if not _is_same(target, value)]
    # copy a new value that shares memory with another buffer before that buffer is overwritten
    copies = [(target, value.copy() if _starts_in(value, old, addresses) else value) for target, value in copies]
    for target, value in copies:
        cupy.copyto(target, value)


def _is_same(a: Array, b: Array) -> bool:
    return bool(a.data.ptr == b.data.ptr and a.strides == b.strides)


def _starts_in(array: Array, others: Sequence[Array], addresses: Sequence[int]) -> bool:
    start = array.data.ptr
    return any(address <= start < address + other.nbytes for address, other in zip(addresses, others, strict=True))


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
