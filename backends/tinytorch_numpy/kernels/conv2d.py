"""Convolution by matmuls that read overlapping windows where they lie.

Images are (H, C, W, N) in memory. Unrolled along the width only they are (H, kw, C, Wo, N), kw times their size; the kh rows of pixels
that one row of results looks at are then a block of memory, (kh kw C, Wo N), and the next row's block overlaps with it. Full im2col
would copy each pixel kh kw times.

BLAS is slow at a matrix of few rows, such as a few filters make. So some rows of results are worked out by one matmul: the matrix then
holds the filters once for each of these rows, shifted as the windows are, in a band. And BLAS has kernels for small matmuls that need
no copies of their operands, so matmuls are tiled until they are small enough for them.
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
from tinytorch_numpy.kernels.support import takes

#: Rows of a matrix above which BLAS gains little from more of them.
_ENOUGH_ROWS = 16

#: Multiplications up to which a matmul counts as small in OpenBLAS, and columns below which a tile is not worth a call.
_SMALL_MATMUL = 1_000_000
_ENOUGH_COLUMNS = 128

#: Multiplications of a convolution that are worth a second thread.
_ENOUGH = 1 << 22


class _Call:
    """The sizes of one call, and the filters as a band."""

    def __init__(self, rows: Array, weight: Array, stride: Pair) -> None:
        self.filters, self.channels, self.kh, self.kw = weight.shape
        self.stride = stride
        self.count = rows.shape[3]
        self.height, self.width = window_counts(rows, (self.kh, self.kw), stride)
        # rows of results that are worked out together; more than kh of them would more than double the arithmetic
        most = min(self.kh, max(1, _ENOUGH_ROWS // self.filters))
        self.together = max(n for n in range(1, most + 1) if self.height % n == 0)
        self.blocks = self.height // self.together
        self.taps = self.kh + (self.together - 1) * stride[0]  # rows of pixels that they look at
        self.band = self._band(weight)
        columns = self.width * self.count
        small = (n for n in range(1, columns // _ENOUGH_COLUMNS + 1) if columns % n == 0 and self.band.size * columns <= n * _SMALL_MATMUL)
        self.tiles = next(small, 1)

    def _band(self, weight: Array) -> Array:
        """(O, C, kh, kw) -> (together O, taps kw C)."""
        filters = weight.transpose(0, 2, 3, 1).reshape(self.filters, self.kh, self.kw * self.channels)
        band = numpy.zeros((self.together, self.filters, self.taps, self.kw * self.channels), weight.dtype)
        for i in range(self.together):
            band[i, :, i * self.stride[0] : i * self.stride[0] + self.kh] = filters
        return band.reshape(self.together * self.filters, self.taps * self.kw * self.channels)

    def band_gradient(self, g: Array) -> Array:
        """The adjoint of `_band`."""
        g = g.reshape(self.together, self.filters, self.taps, self.kw * self.channels)
        total = sum(g[i, :, i * self.stride[0] : i * self.stride[0] + self.kh] for i in range(self.together))
        return total.reshape(self.filters, self.kh, self.kw, self.channels).transpose(0, 3, 1, 2)

    def windows(self, rows: Array) -> Array:
        """``rows (H, C, W, N)`` unrolled along the width, as overlapping blocks: (blocks, tiles, taps kw C, Wo N / tiles)."""
        unrolled = numpy.empty((len(rows), self.kw, self.channels, self.width, self.count), rows.dtype)
        for j in range(self.kw):
            unrolled[:, j] = rows[:, :, steps(j, self.stride[1], self.width)]
        row, _, line, _, item = unrolled.strides
        columns = self.width * self.count // self.tiles
        return as_strided(
            unrolled,
            (self.blocks, self.tiles, self.band.shape[1], columns),
            (self.together * self.stride[0] * row, columns * item, line, item),
            writeable=False,
        )

    def results(self, rows: Array) -> Array:
        """``rows (Ho, O, Wo, N)`` as a view that fits `windows`: (blocks, tiles, together O, Wo N / tiles)."""
        return rows.reshape(self.blocks, len(self.band), self.tiles, -1).swapaxes(1, 2)

    def images_gradient(self, g: Array, height: int, width: int) -> Array:
        """The gradient of padded images (H, C, W, N), given that of the `results`."""
        unrolled = numpy.zeros((height, self.kw * self.channels, self.width * self.count), g.dtype)
        block = numpy.empty((self.taps, *unrolled.shape[1:]), g.dtype)
        in_tiles = block.reshape(self.band.shape[1], self.tiles, -1).swapaxes(0, 1)
        for i in range(self.blocks):
            numpy.matmul(self.band.T, g[i], out=in_tiles)
            first = i * self.together * self.stride[0]
            unrolled[first : first + self.taps] += block
        parts = unrolled.reshape(height, self.kw, self.channels, self.width, self.count)
        out = numpy.zeros((height, self.channels, width, self.count), g.dtype)
        for j in range(self.kw):
            out[:, :, steps(j, self.stride[1], self.width)] += parts[:, j]
        return out


def _forward(x: Array, weight: Array, bias: Array | None, *, stride: Pair, padding: Pair) -> Any:
    """``x (N, C, H, W)`` with each of the filters ``weight (O, C, kh, kw)``, plus ``bias (O)``: (N, O, Ho, Wo).

    Residuals: x as (H, C, W, N), which is no copy where it already lay so.
    """
    if not takes(x, weight, bias) or x.size == 0 or x.shape[1] != weight.shape[1]:
        return NotImplemented
    turned = rows_first(x)
    rows = padded(turned, padding, 0.0)
    height, width = window_counts(rows, weight.shape[2:], stride)
    out = numpy.empty((height, len(weight), width, len(x)), x.dtype)

    def fill(results: slice, seen: slice) -> None:
        call = _Call(rows[seen], weight, stride)
        numpy.matmul(call.band, call.windows(rows[seen]), out=call.results(out[results]))
        if bias is not None:
            out[results] += bias[:, None, None]

    threads.run([partial(fill, *shard) for shard in _shards(out, weight, stride[0])])
    return batch_first(out), turned


def _backward(g: Array, turned: Array, inputs: Sequence[Any], needs: Sequence[bool], *, stride: Pair, padding: Pair) -> list[Array | None]:
    _, weight, _ = inputs
    rows = padded(turned, padding, 0.0)
    g_rows = rows_first(g)

    def gradients(results: slice, seen: slice) -> list[Any]:
        call = _Call(rows[seen], weight, stride)
        g_results = call.results(g_rows[results])
        g_x = g_weight = g_bias = None
        if needs[0]:
            g_x = call.images_gradient(g_results, seen.stop - seen.start, rows.shape[2])
        if needs[1]:  # this way round, and turned afterwards, BLAS is faster
            g_weight = call.band_gradient(numpy.matmul(call.windows(rows[seen]), g_results.swapaxes(2, 3)).sum(axis=(0, 1)).T)
        if needs[2]:
            ones = numpy.ones(call.width * call.count, g.dtype)  # BLAS adds faster than sum()
            g_bias = numpy.matmul(g_rows[results].reshape(call.height, call.filters, -1), ones).sum(axis=0)
        return [g_x, g_weight, g_bias]

    shards = _shards(g_rows, weight, stride[0])
    found = threads.run([partial(gradients, *shard) for shard in shards])
    g_x = batch_first(cropped(_joined(rows, shards, [grads[0] for grads in found]), padding)) if needs[0] else None
    return [g_x, *[sum(grads[i] for grads in found) if needs[i] else None for i in (1, 2)]]


def _shards(results: Array, weight: Array, stride: int) -> list[tuple[slice, slice]]:
    """Rows of ``results (Ho, O, Wo, N)`` for each thread, or all where there are few, and the rows of the images that they look at."""
    height, kh = len(results), weight.shape[2]
    large = results.size * weight[0].size >= _ENOUGH
    n = min(height, threads.count()) if large else 1
    bounds = [i * height // n for i in range(n + 1)]
    return [(slice(first, last), slice(first * stride, (last - 1) * stride + kh)) for first, last in pairwise(bounds)]


def _joined(rows: Array, shards: Sequence[tuple[slice, slice]], grads: Sequence[Array]) -> Array:
    """The gradient of ``rows``, given those of its shards, which overlap."""
    if len(shards) == 1 and len(grads[0]) == len(rows):
        return grads[0]
    out = numpy.zeros_like(rows)
    for (_, seen), grad in zip(shards, grads, strict=True):
        out[seen] += grad
    return out


conv2d = Kernel(_forward, _backward)
