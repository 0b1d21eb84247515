"""Dropout, some elements at a time, with the mask drawn again by the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.random_bits import apply_bits, keep_bits, stream
from tinytorch_numpy.kernels.support import CHUNK, chunks, takes


def _forward(x: Array, key: Array, *, p: float, site: int, first: int = 0) -> Any:
    """x with a share ``p`` of its elements set to 0 and the others divided by ``1 - p``; ``key (2)``, ``site`` and ``first`` say which."""
    if not takes(x):
        return NotImplemented
    values = numpy.ravel(x)
    out = numpy.empty_like(values)
    index, spare = numpy.empty((2, min(CHUNK, values.size)), numpy.uint32)
    count = numpy.arange(index.size, dtype=numpy.uint32)
    here = stream(key, site)
    for some in chunks(values.size):
        part = numpy.multiply(values[some], 1.0 / (1.0 - p), out=out[some])
        places = numpy.add(count[: part.size], numpy.uint32(first + some.start & 0xFFFFFFFF), out=index[: part.size])
        apply_bits(part, keep_bits(places, spare[: part.size], here, p), out=part)
    return out.reshape(x.shape), None


def _backward(
    g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Array | None]:
    _, key = inputs
    return [_forward(g, key, p=p, site=site, first=first)[0], None]


dropout = Kernel(_forward, _backward)
