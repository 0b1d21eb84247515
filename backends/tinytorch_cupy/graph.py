"""A step of fixed shapes as one launch: a CUDA graph, captured from what the step launches (CUDA C++ Programming Guide, "CUDA Graphs").

A graph remembers addresses. So what a step reads is copied into buffers that stay where they are, what it leaves for the next step is
copied back into them, and everything in between lies in a memory pool that nothing else takes from. Buffers, pool, cuBLAS handle with its
workspace and rows of ones belong to the capture, and live as long as the graph.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from tinytorch.backend.contract import Array, Step
from tinytorch_cupy import gemm

_log: Final = logging.getLogger("tinytorch")

#: How often a step is tried, as what breaks a capture may come from outside, such as a graph that another thread destroys meanwhile.
_ATTEMPTS: Final = 2

Arrays = tuple[Array, ...]


class CapturedStep:
    """``step(state, batch) -> (state, aux)`` that is captured when it is first called, once for each set of shapes.

    Where it is not captured, because cupy or CUDA refuses or for lack of memory, the step is run as it is from then on, and one line of the
    log says so.

    Args:
        cupy: the module.
        gpu: the device that the arrays lie on; it becomes the current one.
        step: the step; it must read nothing on the host.
        donate: whether the state is donated: a call that is given the state that another call returned overwrites it, which is
            the same memory. Otherwise what is returned is the caller's.

    A state that is still held by someone is not touched by calls with other states: they get a graph of their own.
    """

    def __init__(self, cupy: Any, gpu: Any, step: Step, donate: bool) -> None:
        self._cupy = cupy
        self._gpu = gpu
        self._step = step
        self._donate = donate
        self._captured: dict[Any, list[_Capture]] = {}
        self._refused: set[Any] = set()

    def __call__(self, state: Arrays, batch: Arrays) -> tuple[Arrays, Arrays]:
        self._gpu.use()
        if self._cupy.cuda.get_current_stream().is_capturing():  # for another graph, whose part this step becomes
            return self._step(state, batch)
        shapes = tuple((array.shape, array.dtype) for array in (*state, *batch)), len(state)
        captured = self._found(shapes, state) or self._capture(shapes, state, batch)
        if captured is None:  # what was left of the attempts is gone, with its memory
            return self._step(state, batch)
        return captured(state, batch, self._donate)

    def _found(self, shapes: Any, state: Arrays) -> _Capture | None:
        """The capture that holds this state, or else one that holds none that is in use."""
        known = self._captured.get(shapes, [])
        return next((one for one in known if one.holds(state)), None) or next((one for one in known if one.is_free()), None)

    def _capture(self, shapes: Any, state: Arrays, batch: Arrays) -> _Capture | None:
        """A new capture; ``None`` where there can be none."""
        if shapes in self._refused:
            return None
        reason = ""
        for _ in range(_ATTEMPTS):
            try:
                captured = _Capture(self._cupy, self._step, state, batch)
            except (_RefusedError, MemoryError) as error:
                reason = _one_line(error.__cause__ or error)  # as text: the error has hold of all that the attempt allocated
            else:
                self._captured.setdefault(shapes, []).append(captured)
                return captured
        _log.warning("the step is run launch by launch, since CUDA did not capture it as a graph (%s)", reason)
        self._refused.add(shapes)
        return None


class _RefusedError(Exception):
    """A step that runs, but not under capture; the cause says why."""


class _Capture:
    """A graph with all that it needs to stay alive.

    Raises:
        _RefusedError: the step cannot be captured. What it raises when it is run as it is passes.
        MemoryError: the GPU has not memory enough for the step and another state.
    """

    def __init__(self, cupy: Any, step: Step, state: Arrays, batch: Arrays) -> None:
        self._cupy = cupy
        cupy.get_default_memory_pool().free_all_blocks()  # what lies idle there is out of reach of the graph's own pool
        # From the caller's pool: a state that is given out may outlive the graph, and memory can die with the pool that it is from.
        self._state = _copies(state)
        self._batch = _copies(batch)
        self._seen: list[Array | None] = [None] * len(batch)
        self._given: Callable[[], Array | None] = lambda: None  # the last array of the state that was given out, while someone has it
        self._blas = gemm.new_blas(cupy)
        self._pool = cupy.cuda.MemoryPool(partial(_new_memory, cupy))
        self._stream = cupy.cuda.Stream(non_blocking=True)
        caller = cupy.cuda.get_current_stream()
        self._stream.wait_event(caller.record())  # the arrays may still be being computed
        try:
            with self._stream, cupy.cuda.using_allocator(self._pool.malloc), gemm.using(self._blas):
                # Once as it is: kernels are compiled, libraries set themselves up, and the pool gets its blocks. What it writes into the
                # copies does not matter, as the state is copied once more before the first launch.
                step(self._state, self._batch)
                self._graph, self._aux = self._record(step)
        finally:
            caller.wait_event(self._stream.record())  # where it failed, too: the copies' memory goes back to the caller

    def _record(self, step: Step) -> tuple[Any, Arrays]:
        """The graph, and where it leaves what the step returns beside the state."""
        self._pool.set_limit(size=0)  # to keep to one, the pool would free idle blocks, whose addresses the graph has
        try:
            with _no_collection():
                self._stream.begin_capture()
                try:
                    new, aux = step(self._state, self._batch)
                    _overwrite(self._cupy, self._state, new)
                except BaseException:
                    with suppress(Exception):  # a capture that is broken says so once more when it is ended
                        self._stream.end_capture()
                    raise
                graph = self._stream.end_capture()
            graph.upload(self._stream)
        except Exception as error:
            raise _RefusedError from error
        return graph, tuple(aux)

    def holds(self, state: Arrays) -> bool:
        """Whether this is the state that the last call left here."""
        return bool(state) and state[-1] is self._given()

    def is_free(self) -> bool:
        """Whether nobody has the state that the last call left here."""
        return self._given() is None

    def __call__(self, state: Arrays, batch: Arrays, donate: bool) -> tuple[Arrays, Arrays]:
        if not self.holds(state):
            for own, given in zip(self._state, state, strict=True):
                self._cupy.copyto(own, given)
        for i, (own, given) in enumerate(zip(self._batch, batch, strict=True)):
            if self._seen[i] is not given:  # values do not change under an array: the same one, such as a weight, is there already
                self._cupy.copyto(own, given)
                self._seen[i] = given
        self._graph.launch()
        if not donate or not state:
            return _copies(self._state), _copies(self._aux)
        last = self._state[-1].view()  # a new object, by which this state is known from those before
        self._given = weakref.ref(last)
        return (*self._state[:-1], last), _copies(self._aux)


def _new_memory(cupy: Any, size: int) -> Any:
    """Memory for a graph's pool, from CUDA.

    A pool that gets none frees its idle blocks and tries again. While a graph is recorded it must not, as the graph has their addresses.
    """
    try:
        return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if cupy.cuda.get_current_stream().is_capturing():
            raise MemoryError(str(error)) from None  # which the pool does not take for its own affair
        raise


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and none inside a ``with`` block: a graph or a handle that is destroyed there would break a capture."""
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
    """Leave the new state where the next launch looks for it. What was computed in place is there already."""
    places = [array.data.ptr for array in old]
    moved = [(target, value) for target, value in zip(old, new, strict=True) if not _is_same(target, value)]
    # a new value that lies in another old one must be read before that is overwritten
    moved = [(target, value.copy() if _lies_in(value, old, places) else value) for target, value in moved]
    for target, value in moved:
        cupy.copyto(target, value)


def _is_same(one: Array, other: Array) -> bool:
    return bool(one.data.ptr == other.data.ptr and one.strides == other.strides)


def _lies_in(array: Array, others: Sequence[Array], places: Sequence[int]) -> bool:
    start = array.data.ptr
    return any(place <= start < place + other.nbytes for place, other in zip(places, others, strict=True))


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
