"""Layer normalization in chunks of rows that fit the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import as_rows, chunks, supports


def _forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Any:
    """Normalize ``x (..., D)`` to mean 0 and variance 1 over the last axis, then scale by ``weight (D)`` and add ``bias (D)``, if any.

    Residuals: the mean and the reciprocal standard deviation of each row, (N) each.
    """
    if weight is None or not supports(x, weight, bias) or weight.size == 0 or x.shape[-1:] != weight.shape:
        return NotImplemented
    width = weight.size
    rows = as_rows(x, width)
    if len(rows) == 1:
        row, residuals = _normalize_row(rows[0], weight, bias, eps)
        return row.reshape(x.shape), residuals
    out = numpy.empty_like(rows)
    mean = numpy.vecdot(rows, numpy.ones(width, x.dtype))
    mean /= width
    rstd = numpy.empty_like(mean)
    for chunk in chunks(len(rows), width):
        centered = numpy.subtract(rows[chunk], mean[chunk, None], out=out[chunk])
        deviation = numpy.vecdot(centered, centered)
        deviation /= width
        deviation += eps
        numpy.sqrt(deviation, out=deviation)
        numpy.divide(1.0, deviation, out=rstd[chunk])
        centered *= rstd[chunk, None]
        centered *= weight
        if bias is not None:
            centered += bias
    return out.reshape(x.shape), (mean, rstd)


def _normalize_row(row: Array, weight: Array, bias: Array | None, eps: float) -> Any:
    """The same for one row, as in decoding, with fewer numpy calls: a call costs more than its arithmetic."""
    mean = numpy.add.reduce(row) / row.size
    out = row - mean
    rstd = 1.0 / numpy.sqrt(numpy.vdot(out, out) / row.size + eps)
    out *= rstd
    out *= weight
    if bias is not None:
        out += bias
    return out, (mean[None], rstd[None])


def _backward(g: Array, residuals: Any, inputs: Sequence[Array], needs: Sequence[bool], *, eps: float) -> list[Array | None]:
    x, weight, _ = inputs
    mean, rstd = residuals
    width = weight.size
    rows, g_rows = as_rows(x, width), as_rows(g, width)
    g_x = numpy.empty_like(rows)
    g_weight = numpy.zeros(width, x.dtype)
    weight_over_width = weight / width  # a dot product with it is a mean over the row of gradient times weight
    for chunk in chunks(len(rows), width):
        g_chunk, scale = g_rows[chunk], rstd[chunk]
        centered = rows[chunk] - mean[chunk, None]
        product = numpy.multiply(g_chunk, centered, out=g_x[chunk])
        g_weight += numpy.einsum("i,ij->j", scale, product)
        if not needs[0]:
            continue
        # remove the components along the mean and along x: normalization cancels changes in these two directions
        x_component = numpy.vecdot(product, weight_over_width)
        x_component *= scale
        x_component *= scale
        mean_component = numpy.vecdot(g_chunk, weight_over_width)
        centered *= x_component[:, None]
        centered += mean_component[:, None]
        g_chunk = numpy.multiply(g_chunk, weight, out=g_x[chunk])
        g_chunk -= centered
        g_chunk *= scale[:, None]
    return [
        g_x.reshape(x.shape) if needs[0] else None,
        g_weight if needs[1] else None,
        g_rows.sum(axis=0) if needs[2] else None,
    ]


layer_norm = Kernel(_forward, _backward)
