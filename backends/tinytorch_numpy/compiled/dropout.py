"""Dropout, with each element's random bits worked out where they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.random_bits import stream
from tinytorch_numpy.kernels.support import takes

_HALF, _NEARLY_HALF, _SIGN = numpy.uint32(16), numpy.uint32(15), numpy.uint32(0x7FFFFFFF)
_FIRST: Final = numpy.uint32(0x7FEB352D)
_SECOND: Final = numpy.uint32(0x846CA68B)


def _forward(x: Array, key: Array, *, p: float, site: int, first: int = 0) -> Any:
    """x with a share ``p`` of its elements set to 0 and the others divided by ``1 - p``; ``key (2)``, ``site`` and ``first`` say which."""
    if not takes(x):
        return NotImplemented
    values = numpy.ravel(x)
    out = numpy.empty_like(values)
    here, start = numpy.uint32(stream(key, site)), numpy.uint32(first & 0xFFFFFFFF)
    _drop(values, here, start, numpy.uint32(int(p * 2**31)), x.dtype.type(1.0 / (1.0 - p)), out)
    return out.reshape(x.shape), None


@loop()
def _drop(x: Array, here: Any, first: Any, threshold: Any, scale: Any, out: Array) -> None:
    """See `tinytorch_numpy.kernels.random_bits.keep_bits`."""
    zero = x.dtype.type(0)
    for i in range(len(x)):
        bits = numpy.uint32(numpy.uint32(i) + first) ^ here
        bits = numpy.uint32((bits ^ (bits >> _HALF)) * _FIRST)
        bits = numpy.uint32((bits ^ (bits >> _NEARLY_HALF)) * _SECOND)
        bits = (bits ^ (bits >> _HALF)) & _SIGN
        out[i] = x[i] * scale if bits >= threshold else zero


def _backward(
    g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Array | None]:
    _, key = inputs
    return [_forward(g, key, p=p, site=site, first=first)[0], None]


dropout = Kernel(_forward, _backward)
