"""A step of fixed shapes as one launch: a CUDA graph, captured from what the step launches (CUDA C++ Programming Guide, "CUDA Graphs").

A graph remembers addresses. So what a step reads is copied into buffers that stay where they are, what it leaves for the next step is
copied back into them, and everything in between lies in a memory pool that nothing else takes from. Pool, buffers, cuBLAS handle and
workspace live as long as the graph.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

from tinytorch.backend.contract import Array, Step
from tinytorch_cupy import gemm

_log: Final = logging.getLogger("tinytorch")

Arrays = tuple[Array, ...]


class CapturedStep:
    """``step(state, batch) -> (state, aux)`` that is captured when it is first called, once for each set of shapes.

    Where capture is refused, by cupy or by CUDA, the step is run as it is from then on, and one line of the log says so.

    Args:
        cupy: the module.
        step: the step; it must read nothing on the host.
        donate: whether the state is given for good: a call that is given the state that another call returned overwrites it, which is
            the same memory. Otherwise what is returned is the caller's.

    A state that is still held by someone is not touched by calls with other states: they get a graph of their own.
    """

    def __init__(self, cupy: Any, step: Step, donate: bool) -> None:
        self._cupy = cupy
        self._step = step
        self._donate = donate
        self._captured: dict[Any, list[_Capture]] = {}
        self._refused: set[Any] = set()

    def __call__(self, state: Arrays, batch: Arrays) -> tuple[Arrays, Arrays]:
        shapes = tuple((array.shape, array.dtype) for array in (*state, *batch)), len(state)
        if shapes in self._refused:
            return self._step(state, batch)
        known = self._captured.setdefault(shapes, [])
        captured = next((one for one in known if one.holds(state)), None) or next((one for one in known if one.is_free()), None)
        if captured is None:
            try:
                captured = _Capture(self._cupy, self._step, state, batch)
            except _RefusedError as refused:
                _log.warning("the step is run launch by launch, since CUDA did not capture it as a graph (%s)", refused)
                self._refused.add(shapes)
                return self._step(state, batch)
            known.append(captured)
        return captured(state, batch, self._donate)


class _RefusedError(Exception):
    """A step that runs, but not under capture."""


class _Capture:
    """A graph with all that it needs to stay alive.

    Raises:
        _RefusedError: the step cannot be captured. What it raises when it is run as it is passes.
    """

    def __init__(self, cupy: Any, step: Step, state: Arrays, batch: Arrays) -> None:
        self._cupy = cupy
        cupy.get_default_memory_pool().free_all_blocks()  # what lies idle there is out of reach of the graph's own pool
        self._pool = cupy.cuda.MemoryPool()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        caller = cupy.cuda.get_current_stream()
        self._blas = gemm.new_blas(cupy)
        self._seen: list[Array | None] = [None] * len(batch)
        self._given: Callable[[], Array | None] = lambda: None  # the last array of the state that was given out, while someone has it
        with ExitStack() as inside:
            self._stream.wait_event(caller.record())  # the arrays may still be being computed
            for manager in (self._stream, cupy.cuda.using_allocator(self._pool.malloc), gemm.using(self._blas)):
                inside.enter_context(manager)
            self._state = _copies(state)
            self._batch = _copies(batch)
            # once as it is: kernels are compiled, libraries set themselves up, and the pool gets its blocks. On copies, since it may write.
            step(_copies(state), self._batch)
            self._graph = self._record(step)
            self._graph.upload(self._stream)
            caller.wait_event(self._stream.record())

    def _record(self, step: Step) -> Any:
        try:
            self._stream.begin_capture()
            try:
                new, self._aux = step(self._state, self._batch)
                _overwrite(self._cupy, self._state, new)
            except BaseException:
                with suppress(Exception):  # a capture that is broken says so once more when it is ended
                    self._stream.end_capture()
                raise
            return self._stream.end_capture()
        except Exception as error:
            raise _RefusedError(_one_line(error)) from error

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
