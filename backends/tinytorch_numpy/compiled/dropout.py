"""Dropout that computes the random bits of each element in the same loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.random_bits import hash_key
from tinytorch_numpy.kernels.support import supports

_SHIFT_16, _SHIFT_15, _LOW_31_BITS = numpy.uint32(16), numpy.uint32(15), numpy.uint32(0x7FFFFFFF)
_FACTOR_1: Final = numpy.uint32(0x7FEB352D)
_FACTOR_2: Final = numpy.uint32(0x846CA68B)


def _forward(x: Array, key: Array, *, p: float, site: int, first: int = 0) -> Any:
    """Set each element of x to 0 with probability ``p``, else divide it by ``1 - p``. ``key``, ``site`` and ``first`` seed the mask."""
    if not supports(x):
        return NotImplemented
    values = numpy.ravel(x)
    out = numpy.empty_like(values)
    hashed_key, start = numpy.uint32(hash_key(key, site)), numpy.uint32(first & 0xFFFFFFFF)
    _drop(values, hashed_key, start, numpy.uint32(int(p * 2**31)), x.dtype.type(1.0 / (1.0 - p)), out)
    return out.reshape(x.shape), None


@loop()
def _drop(x: Array, hashed_key: Any, first: Any, threshold: Any, scale: Any, out: Array) -> None:
    """See `tinytorch_numpy.kernels.random_bits.keep_bits`."""
    zero = x.dtype.type(0)
    for i in range(len(x)):
        bits = numpy.uint32(numpy.uint32(i) + first) ^ hashed_key
        bits = numpy.uint32((bits ^ (bits >> _SHIFT_16)) * _FACTOR_1)
        bits = numpy.uint32((bits ^ (bits >> _SHIFT_15)) * _FACTOR_2)
        bits = (bits ^ (bits >> _SHIFT_16)) & _LOW_31_BITS
        out[i] = x[i] * scale if bits >= threshold else zero


def _backward(
    g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Array | None]:
    _, key = inputs
    return [_forward(g, key, p=p, site=site, first=first)[0], None]


dropout = Kernel(_forward, _backward)
