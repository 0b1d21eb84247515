"""The largest of each window, a window of all images at a time, which lie beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.images import Pair, batch_first, cropped, first_inside, padded, rows_first, window_counts
from tinytorch_numpy.kernels.support import takes


def _forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The largest element of each window of ``x (N, C, H, W)``: (N, C, Ho, Wo).

    Residuals: which element of its window it is, the first of equal ones.
    """
    if not takes(x) or x.size == 0 or kernel_size[0] * kernel_size[1] > 256:
        return NotImplemented
    rows = padded(rows_first(x), padding, -inf)
    height, width = window_counts(rows, kernel_size, stride)
    out = numpy.empty((height, x.shape[1], width, x.shape[0]), x.dtype)
    index = numpy.zeros(out.shape, numpy.uint8)
    if any(padding):
        first_inside(index, kernel_size, stride, padding)
    _choose(rows, *kernel_size, *stride, out, index)
    return batch_first(out), index


@loop()
def _choose(rows: Array, kernel_height: int, kernel_width: int, down: int, right: int, out: Array, index: Array) -> None:
    height, channels, width, count = out.shape
    for y in range(height):
        for c in range(channels):
            for x in range(width):
                best, place = out[y, c, x], index[y, c, x]
                best[:] = rows[y * down, c, x * right]
                for k in range(1, kernel_height * kernel_width):
                    part = rows[y * down + k // kernel_width, c, x * right + k % kernel_width]
                    for n in range(count):
                        larger = (part[n] > best[n]) | (part[n] != part[n])  # NaN is larger than all
                        best[n] = part[n] if larger else best[n]
                        place[n] = k if larger else place[n]


def _backward(
    g: Array, index: Array, inputs: Sequence[Array], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    count, channels, height, width = inputs[0].shape
    grad = numpy.zeros((height + 2 * padding[0], channels, width + 2 * padding[1], count), g.dtype)
    _spread(rows_first(g), index, *kernel_size, *stride, grad)
    return [batch_first(cropped(grad, padding))]


@loop()
def _spread(g: Array, index: Array, kernel_height: int, kernel_width: int, down: int, right: int, grad: Array) -> None:
    height, channels, width, count = g.shape
    zero = g.dtype.type(0)
    for y in range(height):
        for c in range(channels):
            for x in range(width):
                share, place = g[y, c, x], index[y, c, x]
                for k in range(kernel_height * kernel_width):
                    part = grad[y * down + k // kernel_width, c, x * right + k % kernel_width]
                    for n in range(count):
                        part[n] += share[n] if place[n] == k else zero


max_pool2d = Kernel(_forward, _backward)
