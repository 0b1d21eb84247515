"""Functions of cupy that a library computes for which there is no emulation: linear algebra by cuSOLVER, Fourier transforms by cuFFT.

Here numpy computes them on the host. The copies fail while a graph is captured, as these libraries do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy


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

    cupy.linalg.solve = on_host(solve)
    for name in ("cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matrix_rank", "pinv", "qr", "slogdet", "svd"):
        setattr(cupy.linalg, name, on_host(getattr(numpy.linalg, name)))
    for name in ("fft", "fftn", "hfft", "ifft", "ifftn", "ihfft", "irfft", "irfftn", "rfft", "rfftn"):
        setattr(cupy.fft, name, on_host(getattr(numpy.fft, name)))


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
