"""Convolution by matmuls on overlapping views of the images.

Images are stored as (H, C, W, N). They are unrolled along the width only, to (H, kw, C, Wo, N), which is kw times their size. The kh rows
of pixels that one output row reads are then contiguous, (kh kw C, Wo N), and overlap with those of the next output row. Full im2col would
copy each pixel kh kw times.

BLAS is slow for matrices with few rows, and a few filters are such a matrix. So one matmul computes several output rows: its left operand
is a band matrix, which holds the filters once for each output row, shifted by the stride. OpenBLAS has kernels for small matmuls that do
not copy their operands, so the matmuls are split into tiles that are small enough for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy
from numpy.lib.stride_tricks import as_strided

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy import threads
from tinytorch_numpy.kernels.images import Pair, batch_first, cropped, padded, rows_first, steps, window_counts
from tinytorch_numpy.kernels.support import supports

#: With at least this many rows in the left operand, BLAS is efficient.
_MIN_ROWS = 16

#: A tile has at most this many multiplications, for which OpenBLAS has its small-matmul kernels, and at least this many columns.
_MAX_SMALL_MATMUL = 1_000_000
_MIN_COLUMNS = 128

#: A convolution with at least this many multiplications runs in several threads.
_MIN_PARALLEL_WORK = 1 << 22


class _Call:
    """The sizes of one call, and the filters as a band matrix."""

    def __init__(self, rows: Array, weight: Array, stride: Pair) -> None:
        self.filters, self.channels, self.kh, self.kw = weight.shape
        self.stride = stride
        self.count = rows.shape[3]
        self.height, self.width = window_counts(rows, (self.kh, self.kw), stride)
        # output rows per matmul; more than kh would more than double the arithmetic
        max_rows = min(self.kh, max(1, _MIN_ROWS // self.filters))
        self.rows_per_matmul = max(n for n in range(1, max_rows + 1) if self.height % n == 0)
        self.blocks = self.height // self.rows_per_matmul
        self.taps = self.kh + (self.rows_per_matmul - 1) * stride[0]  # rows of pixels that these output rows read
        self.band = self._band(weight)
        columns = self.width * self.count
        divisors = (
            n for n in range(1, columns // _MIN_COLUMNS + 1) if columns % n == 0 and self.band.size * columns <= n * _MAX_SMALL_MATMUL
        )
        self.tiles = next(divisors, 1)

    def _band(self, weight: Array) -> Array:
        """(O, C, kh, kw) -> (rows_per_matmul O, taps kw C)."""
        filters = weight.transpose(0, 2, 3, 1).reshape(self.filters, self.kh, self.kw * self.channels)
        band = numpy.zeros((self.rows_per_matmul, self.filters, self.taps, self.kw * self.channels), weight.dtype)
        for i in range(self.rows_per_matmul):
            band[i, :, i * self.stride[0] : i * self.stride[0] + self.kh] = filters
        return band.reshape(self.rows_per_matmul * self.filters, self.taps * self.kw * self.channels)

    def band_gradient(self, g: Array) -> Array:
        """The adjoint of `_band`."""
        g = g.reshape(self.rows_per_matmul, self.filters, self.taps, self.kw * self.channels)
        total = sum(g[i, :, i * self.stride[0] : i * self.stride[0] + self.kh] for i in range(self.rows_per_matmul))
        return total.reshape(self.filters, self.kh, self.kw, self.channels).transpose(0, 3, 1, 2)

    def windows(self, rows: Array) -> Array:
        """Unroll ``rows (H, C, W, N)`` along the width; returns overlapping blocks (blocks, tiles, taps kw C, Wo N / tiles)."""
        unrolled = numpy.empty((len(rows), self.kw, self.channels, self.width, self.count), rows.dtype)
        for j in range(self.kw):
            unrolled[:, j] = rows[:, :, steps(j, self.stride[1], self.width)]
        row, _, line, _, item = unrolled.strides
        columns = self.width * self.count // self.tiles
        return as_strided(
            unrolled,
            (self.blocks, self.tiles, self.band.shape[1], columns),
            (self.rows_per_matmul * self.stride[0] * row, columns * item, line, item),
            writeable=False,
        )

    def outputs(self, rows: Array) -> Array:
        """View ``rows (Ho, O, Wo, N)`` as the result of matmul(band, `windows`): (blocks, tiles, rows_per_matmul O, Wo N / tiles)."""
        return rows.reshape(self.blocks, len(self.band), self.tiles, -1).swapaxes(1, 2)

    def images_gradient(self, g: Array, height: int, width: int) -> Array:
        """The gradient of the padded images (H, C, W, N), given that of the output, ``g``, as returned by `outputs`."""
        unrolled = numpy.zeros((height, self.kw * self.channels, self.width * self.count), g.dtype)
        block = numpy.empty((self.taps, *unrolled.shape[1:]), g.dtype)
        in_tiles = block.reshape(self.band.shape[1], self.tiles, -1).swapaxes(0, 1)
        for i in range(self.blocks):
            numpy.matmul(self.band.T, g[i], out=in_tiles)
            first = i * self.rows_per_matmul * self.stride[0]
            unrolled[first : first + self.taps] += block
        parts = unrolled.reshape(height, self.kw, self.channels, self.width, self.count)
        out = numpy.zeros((height, self.channels, width, self.count), g.dtype)
        for j in range(self.kw):
            out[:, :, steps(j, self.stride[1], self.width)] += parts[:, j]
        return out


def _forward(x: Array, weight: Array, bias: Array | None, *, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Any:
    """Convolve ``x (N, C, H, W)`` with ``weight (O, C, kh, kw)`` and add ``bias (O)``: (N, O, Ho, Wo).

    Residuals: x as (H, C, W, N), without a copy if it is already stored in this order.
    """
    if not supports(x, weight, bias) or x.size == 0 or x.shape[1] != weight.shape[1] or dilation != (1, 1):
        return NotImplemented
    transposed = rows_first(x)
    rows = padded(transposed, padding, 0.0)
    height, width = window_counts(rows, weight.shape[2:], stride)
    out = numpy.empty((height, len(weight), width, len(x)), x.dtype)

    def fill(outputs: slice, read: slice) -> None:
        call = _Call(rows[read], weight, stride)
        numpy.matmul(call.band, call.windows(rows[read]), out=call.outputs(out[outputs]))
        if bias is not None:
            out[outputs] += bias[:, None, None]

    threads.run([partial(fill, *shard) for shard in _shards(out, weight, stride[0])])
    return batch_first(out), transposed


def _backward(
    g: Array,
    transposed: Array,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
) -> list[Array | None]:
    _, weight, _ = inputs
    rows = padded(transposed, padding, 0.0)
    g_rows = rows_first(g)

    def gradients(outputs: slice, read: slice) -> list[Any]:
        call = _Call(rows[read], weight, stride)
        g_outputs = call.outputs(g_rows[outputs])
        g_x = g_weight = g_bias = None
        if needs[0]:
            g_x = call.images_gradient(g_outputs, read.stop - read.start, rows.shape[2])
        if needs[1]:  # BLAS is faster in this order, with a transpose of the result
            g_weight = call.band_gradient(numpy.matmul(call.windows(rows[read]), g_outputs.swapaxes(2, 3)).sum(axis=(0, 1)).T)
        if needs[2]:
            ones = numpy.ones(call.width * call.count, g.dtype)  # a matmul with ones is faster than sum()
            g_bias = numpy.matmul(g_rows[outputs].reshape(call.height, call.filters, -1), ones).sum(axis=0)
        return [g_x, g_weight, g_bias]

    shards = _shards(g_rows, weight, stride[0])
    shard_grads = threads.run([partial(gradients, *shard) for shard in shards])
    g_x = batch_first(cropped(_sum_overlapping(rows, shards, [grads[0] for grads in shard_grads]), padding)) if needs[0] else None
    return [g_x, *[sum(grads[i] for grads in shard_grads) if needs[i] else None for i in (1, 2)]]


def _shards(outputs: Array, weight: Array, stride: int) -> list[tuple[slice, slice]]:
    """For each thread, its rows of ``outputs (Ho, O, Wo, N)`` and the image rows that they read. A small convolution has one shard."""
    height, kh = len(outputs), weight.shape[2]
    is_large = outputs.size * weight[0].size >= _MIN_PARALLEL_WORK
    n = min(height, threads.count()) if is_large else 1
    bounds = [i * height // n for i in range(n + 1)]
    return [(slice(first, last), slice(first * stride, (last - 1) * stride + kh)) for first, last in pairwise(bounds)]


def _sum_overlapping(rows: Array, shards: Sequence[tuple[slice, slice]], grads: Sequence[Array]) -> Array:
    """The gradient of ``rows``: the sum of those of its shards, whose rows overlap."""
    if len(shards) == 1 and len(grads[0]) == len(rows):
        return grads[0]
    out = numpy.zeros_like(rows)
    for (_, read), grad in zip(shards, grads, strict=True):
        out[read] += grad
    return out


conv2d = Kernel(_forward, _backward)
