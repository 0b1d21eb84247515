"""Max pooling of images stored as (H, C, W, N): the inner loop runs over the images of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.images import Pair, batch_first, cropped, first_inside, padded, rows_first, window_counts
from tinytorch_numpy.kernels.support import supports


def _forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The maximum of each window of ``x (N, C, H, W)``: (N, C, Ho, Wo).

    Residuals: the index of the maximum within its window, the first one if several are equal.
    """
    if not supports(x) or x.size == 0 or kernel_size[0] * kernel_size[1] > 256:
        return NotImplemented
    rows = padded(rows_first(x), padding, -inf)
    height, width = window_counts(rows, kernel_size, stride)
    out = numpy.empty((height, x.shape[1], width, x.shape[0]), x.dtype)
    index = numpy.zeros(out.shape, numpy.uint8)
    if any(padding):
        first_inside(index, kernel_size, stride, padding)
    _fill_maxima(rows, *kernel_size, *stride, out, index)
    return batch_first(out), index


@loop()
def _fill_maxima(rows: Array, kernel_height: int, kernel_width: int, stride_y: int, stride_x: int, out: Array, index: Array) -> None:
    height, channels, width, count = out.shape
    for y in range(height):
        for c in range(channels):
            for x in range(width):
                best, best_index = out[y, c, x], index[y, c, x]
                best[:] = rows[y * stride_y, c, x * stride_x]
                for k in range(1, kernel_height * kernel_width):
                    values = rows[y * stride_y + k // kernel_width, c, x * stride_x + k % kernel_width]
                    for n in range(count):
                        larger = (values[n] > best[n]) | (values[n] != values[n])  # NaN counts as the maximum
                        best[n] = values[n] if larger else best[n]
                        best_index[n] = k if larger else best_index[n]


def _backward(
    g: Array, index: Array, inputs: Sequence[Array], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    count, channels, height, width = inputs[0].shape
    grad = numpy.zeros((height + 2 * padding[0], channels, width + 2 * padding[1], count), g.dtype)
    _scatter(rows_first(g), index, *kernel_size, *stride, grad)
    return [batch_first(cropped(grad, padding))]


@loop()
def _scatter(g: Array, index: Array, kernel_height: int, kernel_width: int, stride_y: int, stride_x: int, grad: Array) -> None:
    height, channels, width, count = g.shape
    zero = g.dtype.type(0)
    for y in range(height):
        for c in range(channels):
            for x in range(width):
                g_values, best_index = g[y, c, x], index[y, c, x]
                for k in range(kernel_height * kernel_width):
                    values = grad[y * stride_y + k // kernel_width, c, x * stride_x + k % kernel_width]
                    for n in range(count):
                        values[n] += g_values[n] if best_index[n] == k else zero


max_pool2d = Kernel(_forward, _backward)
