"""Layer normalisation, some rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import as_rows, chunks, takes


def _forward(x: Array, weight: Array, bias: Array, *, eps: float) -> Any:
    """``x (..., D)`` to mean 0 and variance 1 over its last dimension, times ``weight (D)``, plus ``bias (D)``.

    Residuals: the mean of each row and the reciprocal of its deviation, (N) each.
    """
    if not takes(x, weight, bias) or weight.size == 0 or x.shape[-1:] != weight.shape:
        return NotImplemented
    width = weight.size
    rows = as_rows(x, width)
    if len(rows) == 1:
        row, residuals = _normalise_row(rows[0], weight, bias, eps)
        return row.reshape(x.shape), residuals
    out = numpy.empty_like(rows)
    mean = numpy.vecdot(rows, numpy.ones(width, x.dtype))
    mean /= width
    rstd = numpy.empty_like(mean)
    for some in chunks(len(rows), width):
        centred = numpy.subtract(rows[some], mean[some, None], out=out[some])
        spread = numpy.vecdot(centred, centred)
        spread /= width
        spread += eps
        numpy.sqrt(spread, out=spread)
        numpy.divide(1.0, spread, out=rstd[some])
        centred *= rstd[some, None]
        centred *= weight
        centred += bias
    return out.reshape(x.shape), (mean, rstd)


def _normalise_row(row: Array, weight: Array, bias: Array, eps: float) -> Any:
    """The same for one row, as in decoding, where a call of numpy costs more than its arithmetic."""
    mean = numpy.add.reduce(row) / row.size
    out = row - mean
    rstd = 1.0 / numpy.sqrt(numpy.vdot(out, out) / row.size + eps)
    out *= rstd
    out *= weight
    out += bias
    return out, (mean[None], rstd[None])


def _backward(g: Array, residuals: Any, inputs: Sequence[Array], needs: Sequence[bool], *, eps: float) -> list[Array | None]:
    x, weight, _ = inputs
    mean, rstd = residuals
    width = weight.size
    rows, g_rows = as_rows(x, width), as_rows(g, width)
    g_x = numpy.empty_like(rows)
    g_weight = numpy.zeros(width, x.dtype)
    shares = weight / width  # a product with them is a mean over a row of the gradient times the weight
    for some in chunks(len(rows), width):
        g_some, scale = g_rows[some], rstd[some]
        centred = rows[some] - mean[some, None]
        product = numpy.multiply(g_some, centred, out=g_x[some])
        g_weight += numpy.einsum("i,ij->j", scale, product)
        if not needs[0]:
            continue
        # what points along the mean and along x itself is removed: normalisation undoes changes in these two directions
        along_x = numpy.vecdot(product, shares)
        along_x *= scale
        along_x *= scale
        along_mean = numpy.vecdot(g_some, shares)
        centred *= along_x[:, None]
        centred += along_mean[:, None]
        g_some = numpy.multiply(g_some, weight, out=g_x[some])
        g_some -= centred
        g_some *= scale[:, None]
    return [
        g_x.reshape(x.shape) if needs[0] else None,
        g_weight if needs[1] else None,
        g_rows.sum(axis=0) if needs[2] else None,
    ]


layer_norm = Kernel(_forward, _backward)
