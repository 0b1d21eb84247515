"""Pooling; see ``images.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.launch import contiguous, empty, supports
from tinytorch_cupy.kernels.windows import Pair, Windows


def _max_forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The maximum of each window of ``x (N, C, H, W)``: (N, C, Ho, Wo). Residuals: its flat index within the window."""
    windows = Windows(x.shape, kernel_size, stride, padding)
    if not (supports(x) and windows.is_supported):
        return NotImplemented
    out, indices = [empty((*x.shape[:2], *windows.counts), dtype) for dtype in (x.dtype, "int32")]
    windows.launch("max_pool2d_forward", windows.results, contiguous(x), out, indices)
    return out, indices


def _max_backward(
    g: Array, indices: Array, inputs: Sequence[Array], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    (x,) = inputs
    windows = Windows(x.shape, kernel_size, stride, padding)
    g_x = empty(x.shape, x.dtype)
    windows.launch("max_pool2d_backward", windows.pixels, contiguous(g, x.dtype), indices, g_x)
    return [g_x]


def _avg_forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The mean of each window of ``x (N, C, H, W)``, including padding: (N, C, Ho, Wo)."""
    windows = Windows(x.shape, kernel_size, stride, padding)
    if not (supports(x) and windows.is_supported):
        return NotImplemented
    out = empty((*x.shape[:2], *windows.counts), x.dtype)
    windows.launch("avg_pool2d_forward", windows.results, contiguous(x), out)
    return out, None


def _avg_backward(
    g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    (x,) = inputs
    windows = Windows(x.shape, kernel_size, stride, padding)
    g_x = empty(x.shape, x.dtype)
    windows.launch("avg_pool2d_backward", windows.pixels, contiguous(g, x.dtype), g_x)
    return [g_x]


max_pool2d = Kernel(_max_forward, _max_backward)
avg_pool2d = Kernel(_avg_forward, _avg_backward)
