"""Pooling of images that lie in memory as (H, C, W, N); see `images`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.images import Pair, batch_first, cropped, first_inside, padded, rows_first, steps, window_counts
from tinytorch_numpy.kernels.random_bits import apply_bits
from tinytorch_numpy.kernels.support import takes


def _parts(rows: Array, kernel: Pair, stride: Pair) -> Iterator[Array]:
    """For each element of a window, row by row, a view of that element of all windows: (Ho, C, Wo, N)."""
    height, width = window_counts(rows, kernel, stride)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield rows[steps(i, stride[0], height), :, steps(j, stride[1], width)]


def _spread(x: Array, shares: Iterator[Array], kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """The gradient of ``x (N, C, H, W)``, given that of each element of all windows."""
    count, channels, height, width = x.shape
    rows = numpy.zeros((height + 2 * padding[0], channels, width + 2 * padding[1], count), x.dtype)
    apart = stride[0] >= kernel[0] and stride[1] >= kernel[1]
    for part, share in zip(_parts(rows, kernel, stride), shares, strict=True):
        if apart:
            part[...] = share
        else:
            part += share
    return batch_first(cropped(rows, padding))


def _max_forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The largest element of each window of ``x (N, C, H, W)``: (N, C, Ho, Wo).

    Residuals: which element of its window it is, the first of equal ones.
    """
    if not takes(x) or x.size == 0 or kernel_size[0] * kernel_size[1] > 256:
        return NotImplemented
    parts = _parts(padded(rows_first(x), padding, -inf), kernel_size, stride)
    out = next(parts).copy()
    index = numpy.zeros(out.shape, numpy.uint8)
    if any(padding):
        first_inside(index, kernel_size, stride, padding)
    for k, part in enumerate(parts, start=1):
        larger = numpy.greater(part, out) | numpy.isnan(part)
        numpy.maximum(index, numpy.multiply(larger.view(numpy.uint8), k), out=index)  # k grows
        numpy.maximum(out, part, out=out)
    return batch_first(out), index


def _max_backward(
    g: Array, index: Array, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    g_rows = rows_first(g)

    def shares() -> Iterator[Array]:
        share = numpy.empty_like(g_rows)
        for k in range(kernel_size[0] * kernel_size[1]):
            apply_bits(g_rows, numpy.negative((index == k).view(numpy.int8)), share)
            yield share

    return [_spread(inputs[0], shares(), kernel_size, stride, padding)]


def _avg_forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The mean of each window of ``x (N, C, H, W)``, padded zeros included: (N, C, Ho, Wo)."""
    if not takes(x) or x.size == 0:
        return NotImplemented
    parts = _parts(padded(rows_first(x), padding, 0.0), kernel_size, stride)
    out = next(parts).copy()
    for part in parts:
        out += part
    out *= 1.0 / (kernel_size[0] * kernel_size[1])
    return batch_first(out), None


def _avg_backward(
    g: Array, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    count = kernel_size[0] * kernel_size[1]
    share = rows_first(g) * (1.0 / count)
    return [_spread(inputs[0], iter([share] * count), kernel_size, stride, padding)]


max_pool2d = Kernel(_max_forward, _max_backward)
avg_pool2d = Kernel(_avg_forward, _avg_backward)
