"""Convolution by matrix products that read overlapping windows where they lie.

Images are (H, C, W, N) in memory. Unrolled along the width only they are (H, kw, C, Wo, N), kw times their size; the kh rows of pixels
that one row of results looks at are then a block of memory, (kh kw C, Wo N), and the next row's block overlaps with it. Full im2col
would copy each pixel kh kw times.

BLAS is slow at a matrix of few rows, such as a few filters make. So some rows of results are worked out by one product: the matrix then
holds the filters once for each of these rows, shifted as the windows are, in a band. And BLAS has kernels for small products that need
no copies of their operands, so products are cut into pieces that are small enough for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.lib.stride_tricks import as_strided

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.images import Pair, batch_first, cropped, padded, rows_first, steps, window_counts
from tinytorch_numpy.kernels.support import takes

#: Rows of a matrix above which BLAS gains little from more of them.
_ENOUGH_ROWS = 16

#: Multiplications up to which a product counts as small in OpenBLAS, and columns below which a piece is not worth a call.
_SMALL_PRODUCT = 1_000_000
_ENOUGH_COLUMNS = 128


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
        small = (n for n in range(1, columns // _ENOUGH_COLUMNS + 1) if columns % n == 0 and self.band.size * columns <= n * _SMALL_PRODUCT)
        self.pieces = next(small, 1)

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
        """``rows (H, C, W, N)`` unrolled along the width, as overlapping blocks: (blocks, pieces, taps kw C, Wo N / pieces)."""
        unrolled = numpy.empty((len(rows), self.kw, self.channels, self.width, self.count), rows.dtype)
        for j in range(self.kw):
            unrolled[:, j] = rows[:, :, steps(j, self.stride[1], self.width)]
        row, _, line, _, item = unrolled.strides
        columns = self.width * self.count // self.pieces
        return as_strided(
            unrolled,
            (self.blocks, self.pieces, self.band.shape[1], columns),
            (self.together * self.stride[0] * row, columns * item, line, item),
            writeable=False,
        )

    def results(self, rows: Array) -> Array:
        """``rows (Ho, O, Wo, N)`` as a view that fits `windows`: (blocks, pieces, together O, Wo N / pieces)."""
        return rows.reshape(self.blocks, len(self.band), self.pieces, -1).swapaxes(1, 2)

    def images_gradient(self, g: Array, height: int, width: int) -> Array:
        """The gradient of padded images (H, C, W, N), given that of the `results`."""
        unrolled = numpy.zeros((height, self.kw * self.channels, self.width * self.count), g.dtype)
        block = numpy.empty((self.taps, *unrolled.shape[1:]), g.dtype)
        in_pieces = block.reshape(self.band.shape[1], self.pieces, -1).swapaxes(0, 1)
        for i in range(self.blocks):
            numpy.matmul(self.band.T, g[i], out=in_pieces)
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
    call = _Call(rows, weight, stride)
    out = numpy.empty((call.height, call.filters, call.width, call.count), x.dtype)
    numpy.matmul(call.band, call.windows(rows), out=call.results(out))
    if bias is not None:
        out += bias[:, None, None]
    return batch_first(out), turned


def _backward(g: Array, turned: Array, inputs: Sequence[Any], needs: Sequence[bool], *, stride: Pair, padding: Pair) -> list[Array | None]:
    _, weight, _ = inputs
    rows = padded(turned, padding, 0.0)
    call = _Call(rows, weight, stride)
    g_rows = rows_first(g)
    results = call.results(g_rows)
    g_x = g_weight = g_bias = None
    if needs[0]:
        g_x = batch_first(cropped(call.images_gradient(results, rows.shape[0], rows.shape[2]), padding))
    if needs[1]:  # this way round, and turned afterwards, BLAS is faster
        g_weight = call.band_gradient(numpy.matmul(call.windows(rows), results.swapaxes(2, 3)).sum(axis=(0, 1)).T)
    if needs[2]:
        ones = numpy.ones(call.width * call.count, g.dtype)  # BLAS adds faster than sum()
        g_bias = numpy.matmul(g_rows.reshape(call.height, call.filters, -1), ones).sum(axis=0)
    return [g_x, g_weight, g_bias]


conv2d = Kernel(_forward, _backward)
