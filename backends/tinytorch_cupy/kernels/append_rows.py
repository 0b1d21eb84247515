"""Append positions to a cache; see ``append_rows.cu``."""

from __future__ import annotations

from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.launch import FLOATS, Source, blocks, int32s, supports, variants

_THREADS = 256

_source = Source("append_rows", variants(ELEMENT=FLOATS))


def _forward(buffer: Array, rows: Array, *, at: int) -> Any:
    """Write ``rows (B, T, C)`` to positions ``at`` to ``at + T - 1`` of the donated ``buffer (B, S, C)``; returns the buffer."""
    batch, capacity, width = buffer.shape
    size = rows.dtype.itemsize
    fits = rows.shape == (batch, rows.shape[1], width) and 0 <= at <= capacity - rows.shape[1]
    if not supports(buffer, rows) or not buffer.flags.c_contiguous or not fits or rows.strides[-1] != size or rows.size >= 2**31:
        return NotImplemented
    if rows.size:
        strides = [numpy.int64(stride // size) for stride in rows.strides[:2]]
        numbers = int32s(batch, capacity, rows.shape[1], width, at)
        grid = (blocks(rows.size, _THREADS),)
        _source.launch("append_rows", grid, (_THREADS,), buffer, rows, *numbers, *strides, ELEMENT=rows.dtype.name)
    return buffer, None


append_rows = Kernel(_forward)
