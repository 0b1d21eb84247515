"""Convolution as one matmul over unrolled windows; see ``images.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.gemm import matmul
from tinytorch_cupy.kernels.launch import contiguous, empty, int32s, supports
from tinytorch_cupy.kernels.windows import SOURCE, Pair, Windows, rearrange

_THREADS = 256


def _forward(x: Array, weight: Array, bias: Array | None, *, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Any:
    """Convolve ``x (N, C, H, W)`` with ``weight (O, C, kh, kw)`` and add ``bias (O)``, if any: (N, O, Ho, Wo)."""
    if dilation != (1, 1):
        return NotImplemented
    windows = Windows(x.shape, weight.shape[2:], stride, padding)
    filters = weight.shape[0]
    operands = (x, weight) if bias is None else (x, weight, bias)
    if not supports(*operands) or x.shape[1] != weight.shape[1] or not windows.is_supported or windows.rows >= 2**16 or weight.size == 0:
        return NotImplemented
    if x.shape[0] * filters * windows.counts[0] * windows.counts[1] >= 2**31 - 1024:
        return NotImplemented
    filters_first = matmul(_rows(weight), _columns(x, windows))  # (O, N Ho Wo)
    out = empty((x.shape[0], filters, *windows.counts), x.dtype)
    _swap_leading_axes(filters_first, None if bias is None else contiguous(bias), out, filters, x.shape[0])
    return out, None


def _backward(
    g: Array,
    residuals: None,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
) -> list[Any]:
    x, weight, bias = inputs
    windows = Windows(x.shape, weight.shape[2:], stride, padding)
    filters = weight.shape[0]
    g_rows = empty((filters, g.size // filters), x.dtype)  # (O, N Ho Wo)
    _swap_leading_axes(contiguous(g, x.dtype), None, g_rows, x.shape[0], filters)
    g_x = g_weight = g_bias = None
    if needs[0]:
        g_x = empty(x.shape, x.dtype)
        windows.launch("col2im", windows.pixels, matmul(_rows(weight).T, g_rows), g_x)
    if needs[1]:  # unrolled again: storing the columns would need kh kw times the memory of x
        g_weight = matmul(g_rows, _columns(x, windows).T).reshape(weight.shape)
    if needs[2]:
        g_bias = empty(bias.shape, bias.dtype)
        SOURCE.launch("row_sums", (filters,), (_THREADS,), g_rows, g_bias, *int32s(g_rows.shape[1]), ELEMENT=x.dtype.name)
    return [g_x, g_weight, g_bias]


def _rows(weight: Array) -> Array:
    """(O, C, kh, kw) -> (O, C kh kw)."""
    return contiguous(weight).reshape(weight.shape[0], -1)


def _columns(x: Array, windows: Windows) -> Array:
    """(N, C, H, W) -> (C kh kw, N Ho Wo)."""
    count = windows.results // x.shape[1]
    columns = empty((windows.rows, count), x.dtype)
    windows.launch("im2col", count, contiguous(x), columns, rows=windows.rows)
    return columns


def _swap_leading_axes(x: Array, bias: Array | None, out: Array, first: int, second: int) -> None:
    """(first, second, P) -> (second, first, P), plus ``bias (first)``, if any."""
    rearrange("swap_leading", x.size, x, bias, out, *int32s(first, second, x.size // (first * second)), like=x)


conv2d = Kernel(_forward, _backward)
