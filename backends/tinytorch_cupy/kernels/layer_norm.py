"""Layer normalization; see ``layer_norm.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.launch import FLOATS, Source, blocks, contiguous, empty, int32s, supports, variants

_WARP, _WARPS = 32, 4
_BLOCK_ROWS = 8

_source = Source(
    "layer_norm", [*variants(ELEMENT=FLOATS, WEIGHT=["float32"]), *[m for t in FLOATS[1:] for m in variants(ELEMENT=[t], WEIGHT=[t])]]
)


def _forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Any:
    """Normalize ``x (..., D)`` to mean 0 and variance 1 over the last axis, then scale by ``weight (D)`` and add ``bias (D)``, if any.

    Weight and bias have the dtype of x or float32. Residuals: mean and reciprocal standard deviation of each row, float32, (N) each.
    """
    if weight is None:
        return NotImplemented
    if bias is None:
        import cupy

        bias = cupy.zeros(weight.shape, dtype=weight.dtype)
    if not (supports(x) and supports(weight, bias)) or _macros(x, weight) not in _source.variants:
        return NotImplemented
    width = weight.size
    if x.size == 0 or x.shape[-1:] != weight.shape or bias.shape != weight.shape:
        return NotImplemented
    rows = x.size // width
    out = empty(x.shape, x.dtype)
    mean, rstd = empty((rows,), "float32"), empty((rows,), "float32")
    arrays = (contiguous(x), contiguous(weight), contiguous(bias), out, mean, rstd)
    _run(
        "layer_norm_forward",
        (blocks(rows, _WARPS),),
        (_WARP, _WARPS),
        *arrays,
        *int32s(rows, width),
        numpy.float32(eps),
        x=x,
        weight=weight,
    )
    return out, (mean, rstd)


def _backward(g: Array, residuals: Any, inputs: Sequence[Array], needs: Sequence[bool], *, eps: float) -> list[Array | None]:
    x, weight, bias = inputs
    mean, rstd = residuals
    width = weight.size
    rows = x.size // width
    g, x_rows = contiguous(g, x.dtype), contiguous(x)
    g_x = g_weight = g_bias = None
    if needs[0]:
        g_x = empty(x.shape, x.dtype)
        arrays = (g, x_rows, contiguous(weight), mean, rstd, g_x)
        _run("layer_norm_backward", (blocks(rows, _WARPS),), (_WARP, _WARPS), *arrays, *int32s(rows, width), x=x, weight=weight)
    if needs[1] or needs[2]:
        g_weight = empty(weight.shape, weight.dtype) if needs[1] else None
        g_bias = empty(bias.shape, bias.dtype) if needs[2] else None
        rows_of_block = max(_BLOCK_ROWS * 4, blocks(rows, 64))  # enough blocks to fill a GPU, few enough for one thread to sum
        count = blocks(rows, rows_of_block)
        partials = empty((2, count, width), "float32")
        grid = (blocks(width, _WARP), count)
        sizes = int32s(rows, width, rows_of_block)
        _run("layer_norm_columns", grid, (_WARP, _BLOCK_ROWS), g, x_rows, mean, rstd, partials, *sizes, x=x, weight=weight)
        _run("layer_norm_totals", (blocks(width, 128), 2), (128,), partials, g_weight, g_bias, *int32s(count, width), x=x, weight=weight)
    return [g_x, g_weight, g_bias]


def _run(function: str, grid: tuple[int, ...], block: tuple[int, ...], *args: Any, x: Array, weight: Array) -> None:
    _source.launch(function, grid, block, *args, **_macros(x, weight))


def _macros(x: Array, weight: Array) -> dict[str, str | int]:
    return {"ELEMENT": x.dtype.name, "WEIGHT": weight.dtype.name}


layer_norm = Kernel(_forward, _backward)
