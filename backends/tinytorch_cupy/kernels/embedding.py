"""Embedding lookup; see ``embedding.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.launch import FLOATS, INTEGERS, Source, blocks, contiguous, empty, int32s, supports, variants

_WARP, _WARPS = 32, 4
_SORT_THREADS = 512
_SEGMENT = 32
_COLUMNS = 128

_MAX_IDS = 2**31 - _SEGMENT  # positions are 32-bit integers
_MAX_COLUMNS = (2**16 - 1) * _COLUMNS  # a grid has at most 65,535 blocks along y, for columns, and 2^31 - 1 along x, for segments

_source = Source("embedding", variants(ELEMENT=FLOATS, INDEX=INTEGERS))


def _forward(weight: Array, ids: Array) -> Any:
    """Rows of ``weight (V, D)`` at integer ``ids`` of any shape: (*ids.shape, D). Out-of-bounds ids give NaN."""
    if not supports_sizes(weight, ids):
        return NotImplemented
    length, width = weight.shape
    out = empty((*ids.shape, width), weight.dtype)
    if out.size:
        arrays = (contiguous(weight), contiguous(ids), out)
        grid = (blocks(ids.size, _WARPS),)
        _source.launch("embedding_forward", grid, (_WARP, _WARPS), *arrays, *int32s(ids.size, width, length), **_macros(weight, ids))
    return out, None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    weight, ids = inputs
    g = contiguous(g, weight.dtype).reshape(-1, weight.shape[1])
    return [sum_by_id(g, ids.reshape(-1), weight.shape[0]), None]


def supports_sizes(rows: Array, ids: Array) -> bool:
    """Whether the kernels support arrays of these dtypes, this number of ids and of columns."""
    return supports(rows) and ids.dtype.name in INTEGERS and ids.size <= _MAX_IDS and rows.shape[1] <= _MAX_COLUMNS


def sum_by_id(rows: Array, ids: Array, length: int) -> Array:
    """Sum the ``rows (N, D)`` by id into an array (length, D); ids (N) out of bounds are ignored. The order of additions is fixed."""
    import cupy

    count, width = rows.shape
    sums = cupy.zeros((length, width), dtype=rows.dtype)
    if not (count and sums.size):
        return sums
    macros = _macros(rows, ids)
    order, sorted_ids, *spare = [empty((count,), "int32") for _ in range(4)]
    _source.launch("embedding_sort", (1,), (_SORT_THREADS,), contiguous(ids), order, sorted_ids, *spare, *int32s(count, length), **macros)
    segments = blocks(count, _SEGMENT)
    heads, tails = empty((segments, width), "float32"), empty((segments, width), "float32")
    grid, block, sizes = (segments, blocks(width, _COLUMNS)), (_COLUMNS,), int32s(count, width, length)
    _source.launch("embedding_sums", grid, block, contiguous(rows), order, sorted_ids, sums, heads, tails, *sizes, **macros)
    _source.launch("embedding_joins", grid, block, sorted_ids, sums, heads, tails, *sizes, **macros)
    return sums


def _macros(weight: Array, ids: Array) -> dict[str, str | int]:
    return {"ELEMENT": weight.dtype.name, "INDEX": ids.dtype.name}


embedding = Kernel(_forward, _backward)
