"""Looking up rows of a table; see ``embedding.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.launch import FLOATS, INTEGERS, Source, blocks, contiguous, empty, int32s, takes, variants

_WARP, _WARPS = 32, 4
_SORTERS = 512
_STRETCH = 32
_COLUMNS = 128

_MOST_IDS = 2**31 - _STRETCH  # places are counted in 32 bits
_MOST_COLUMNS = (2**16 - 1) * _COLUMNS  # a grid has 65,535 blocks along y; along x, where the stretches are, 2^31 - 1

_source = Source("embedding", variants(ELEMENT=FLOATS, INDEX=INTEGERS))


def _forward(weight: Array, ids: Array) -> Any:
    """Rows of ``weight (V, D)`` at ``ids``, of any shape: (*ids.shape, D); NaN unless 0 <= id < V."""
    if not takes(weight) or ids.dtype.name not in INTEGERS or ids.size > _MOST_IDS or weight.shape[1] > _MOST_COLUMNS:
        return NotImplemented
    length, width = weight.shape
    out = empty((*ids.shape, width), weight.dtype)
    if out.size:
        arrays = (contiguous(weight), contiguous(ids), out)
        grid = (blocks(ids.size, _WARPS),)
        _source.launch("embedding_forward", grid, (_WARP, _WARPS), *arrays, *int32s(ids.size, width, length), **_macros(weight, ids))
    return out, None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    import cupy

    weight, ids = inputs
    length, width = weight.shape
    count = ids.size
    g_table = cupy.zeros(weight.shape, dtype=weight.dtype)
    if not (count and g_table.size):
        return [g_table, None]
    macros = _macros(weight, ids)
    order, ordered, *spare = [empty((count,), "int32") for _ in range(4)]
    _source.launch("embedding_sort", (1,), (_SORTERS,), contiguous(ids), order, ordered, *spare, *int32s(count, length), **macros)
    stretches = blocks(count, _STRETCH)
    heads, tails = empty((stretches, width), "float32"), empty((stretches, width), "float32")
    grid, block, sizes = (stretches, blocks(width, _COLUMNS)), (_COLUMNS,), int32s(count, width, length)
    _source.launch("embedding_sums", grid, block, contiguous(g, weight.dtype), order, ordered, g_table, heads, tails, *sizes, **macros)
    _source.launch("embedding_joins", grid, block, ordered, g_table, heads, tails, *sizes, **macros)
    return [g_table, None]


def _macros(weight: Array, ids: Array) -> dict[str, str | int]:
    return {"ELEMENT": weight.dtype.name, "INDEX": ids.dtype.name}


embedding = Kernel(_forward, _backward)
