"""Dropout in chunks that fit the cache. The backward pass draws the mask again instead of storing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.random_bits import apply_bits, hash_key, keep_bits
from tinytorch_numpy.kernels.support import CHUNK, chunks, supports


def _forward(x: Array, key: Array, *, p: float, site: int, first: int = 0) -> Any:
    """Set each element of x to 0 with probability ``p``, else divide it by ``1 - p``. ``key``, ``site`` and ``first`` seed the mask."""
    if not supports(x):
        return NotImplemented
    values = numpy.ravel(x)
    out = numpy.empty_like(values)
    index, spare = numpy.empty((2, min(CHUNK, values.size)), numpy.uint32)
    count = numpy.arange(index.size, dtype=numpy.uint32)
    hashed_key = hash_key(key, site)
    for chunk in chunks(values.size):
        part = numpy.multiply(values[chunk], 1.0 / (1.0 - p), out=out[chunk])
        indices = numpy.add(count[: part.size], numpy.uint32(first + chunk.start & 0xFFFFFFFF), out=index[: part.size])
        apply_bits(part, keep_bits(indices, spare[: part.size], hashed_key, p), out=part)
    return out.reshape(x.shape), None


def _backward(
    g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Array | None]:
    _, key = inputs
    return [_forward(g, key, p=p, site=site, first=first)[0], None]


dropout = Kernel(_forward, _backward)
