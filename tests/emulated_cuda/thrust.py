"""Thrust's sorts, which cupy's wheels contain as code for GPUs, by numpy on the memory of the emulated device."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy

from tests.emulated_cuda.hooks import runtime

_Work = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_pending: dict[int, Callable[[], None]] = {}  #: launches, which a graph may run again
_numbers = itertools.count(1)


class ProcessEnded(BaseException):
    """An error in Thrust, which ends the process in cupy before 14.1: its wrappers do not catch C++ exceptions."""


class Thrust:
    """Stands for the module ``cupy.cuda.thrust``. The arguments are addresses and shapes, as there."""

    available = True

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def _catches_errors(self) -> bool:
        version = self._cupy.__version__  # read at each call, because a test may change it
        return tuple(int(part) for part in version.split(".")[:2]) >= (14, 1)

    def sort(self, dtype: Any, data: int, keys: int, shape: tuple[int, ...]) -> None:
        if self._has_memory(dtype, shape):
            self._submit(lambda: array_at(data, dtype, shape).sort(axis=-1, kind="stable"))

    def argsort(self, dtype: Any, indices: int, data: int, keys: int, shape: tuple[int, ...]) -> None:
        def work() -> None:
            array_at(indices, numpy.intp, shape)[...] = array_at(data, dtype, shape).argsort(axis=-1, kind="stable")

        if self._has_memory(dtype, shape):
            self._submit(work)

    def lexsort(self, dtype: Any, indices: int, keys: int, count: int, length: int) -> None:
        def work() -> None:
            array_at(indices, numpy.intp, (length,))[...] = numpy.lexsort(array_at(keys, dtype, (count, length)))

        if self._has_memory(dtype, (length,)):
            self._submit(work)

    def _has_memory(self, dtype: Any, shape: tuple[int, ...]) -> bool:
        """Whether memory suffices for a copy. Without, Thrust does not sort in versions whose errors are not caught."""
        try:
            self._cupy.cuda.alloc(math.prod(shape) * numpy.dtype(dtype).itemsize)
        except MemoryError:
            if self._catches_errors():
                raise
            return False
        return True

    def _submit(self, work: Callable[[], None]) -> None:
        stream = self._cupy.cuda.get_current_stream()
        if stream.is_capturing() and not self._catches_errors():
            raise ProcessEnded("Thrust synchronizes the stream, which fails during capture")
        number = next(_numbers)
        _pending[number] = work
        error = runtime().emulated_submit(ctypes.c_void_p(stream.ptr), _run, ctypes.c_void_p(number), _forget, b"a sort")
        if error:
            raise self._cupy.cuda.runtime.CUDARuntimeError(error)


def array_at(address: int, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A numpy array of the memory at an address."""
    dtype = numpy.dtype(dtype)
    size = int(numpy.prod(shape, dtype=int))
    memory = (ctypes.c_char * (size * dtype.itemsize)).from_address(address)
    return numpy.frombuffer(memory, dtype=dtype, count=size).reshape(shape)


@_Work
def _run(number: int) -> int:
    _pending[number]()
    return 0


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _forget(number: int) -> None:
    _pending.pop(number, None)
