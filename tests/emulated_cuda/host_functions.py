"""Functions of cupy that a library compiled for GPUs computes, on the host: sorting by Thrust, linear
algebra by cuSOLVER, Fourier transforms by cuFFT.

They copy to the host or synchronize, so they fail while a graph is captured, as Thrust does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy


class ProcessEnded(BaseException):
    """An error of Thrust in a version of cupy that does not catch it. It would end the process."""


def patch(cupy: Any) -> None:
    """Replace the functions in the module ``cupy``."""

    def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = function(*[to_host(cupy, arg) for arg in args], **{name: to_host(cupy, value) for name, value in options.items()})
            return to_device(cupy, result)

        call.__name__ = function.__name__
        return call

    def solve(a: Any, b: Any) -> Any:
        if b.ndim > 1 and a.shape[:-1] != b.shape[:-1]:  # numpy's function broadcasts
            raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
        return numpy.linalg.solve(a, b)

    for name in ("cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matrix_rank", "pinv", "qr", "slogdet", "svd"):
        setattr(cupy.linalg, name, on_host(getattr(numpy.linalg, name)))
    cupy.linalg.solve = on_host(solve)
    for name in ("fft", "fftn", "hfft", "ifft", "ifftn", "ihfft", "irfft", "irfftn", "rfft", "rfftn"):
        setattr(cupy.fft, name, on_host(getattr(numpy.fft, name)))
    patch_thrust(cupy)


def patch_thrust(cupy: Any) -> None:
    """Replace the functions of ``cupy.cuda.thrust``, which get addresses. ``cupy.sort``, ``cupy.unique`` and others call them."""

    def catches_errors() -> bool:
        return bool(numpy.lib.NumpyVersion(cupy.__version__) >= "14.1.0")  # read at each call, because a test may change it

    def memory(address: int, dtype: Any, shape: Any) -> Any:
        dtype = numpy.dtype(dtype)
        if dtype.kind not in "?biufc":
            raise NotImplementedError(f"Sorting arrays with dtype '{dtype}' is not supported")
        count = int(numpy.prod(shape, dtype=int))
        return numpy.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype).reshape(tuple(shape))

    def sorts(function: Callable[..., None]) -> Callable[..., None]:
        """Check what Thrust needs: a stream that it may synchronize, and memory for a copy."""

        def call(*args: Any) -> None:
            if cupy.cuda.get_current_stream().is_capturing():
                if not catches_errors():
                    raise ProcessEnded("Thrust synchronizes the stream, which fails during capture")
                cupy.cuda.get_current_stream().synchronize()  # raises
            function(*args)

        return call

    def has_memory(array: Any) -> bool:
        try:
            cupy.cuda.alloc(array.nbytes)
            return True
        except MemoryError:
            if catches_errors():
                raise
            return False  # Thrust goes on without, and does not sort

    def sort(dtype: Any, data: int, keys: int, shape: Any) -> None:
        array = memory(data, dtype, shape)
        if has_memory(array):
            array.sort(axis=-1, kind="stable")

    def argsort(dtype: Any, indices: int, data: int, keys: int, shape: Any) -> None:
        array = memory(data, dtype, shape)
        if has_memory(array):
            memory(indices, numpy.intp, shape)[...] = array.argsort(axis=-1, kind="stable")

    def lexsort(dtype: Any, indices: int, keys: int, count: int, length: int) -> None:
        array = memory(keys, dtype, (count, length))
        if has_memory(array):
            memory(indices, numpy.intp, (length,))[...] = numpy.lexsort(array)

    for function in (sort, argsort, lexsort):
        setattr(cupy.cuda.thrust, function.__name__, sorts(function))


def to_host(cupy: Any, value: Any) -> Any:
    """cupy arrays, also in lists and tuples, as numpy arrays."""
    if isinstance(value, cupy.ndarray):
        return cupy.asnumpy(value)
    if isinstance(value, list | tuple):
        return type(value)(to_host(cupy, item) for item in value)
    return value


def to_device(cupy: Any, value: Any) -> Any:
    """numpy arrays, also in tuples, as cupy arrays."""
    if isinstance(value, numpy.ndarray | numpy.generic):
        return cupy.asarray(value)
    if isinstance(value, tuple):
        items = [to_device(cupy, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
