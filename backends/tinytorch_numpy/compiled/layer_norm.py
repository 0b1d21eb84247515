"""Layer normalisation, a row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.support import as_rows, takes


def _forward(x: Array, weight: Array, bias: Array, *, eps: float) -> Any:
    """``x (..., D)`` to mean 0 and variance 1 over its last dimension, times ``weight (D)``, plus ``bias (D)``.

    Residuals: the mean of each row and the reciprocal of its deviation, (N) each.
    """
    if not takes(x, weight, bias) or weight.size == 0 or x.shape[-1:] != weight.shape:
        return NotImplemented
    rows = as_rows(x, weight.size)
    out = numpy.empty_like(rows)
    mean, rstd = numpy.empty((2, len(rows)), x.dtype)
    number = x.dtype.type
    contiguous = (numpy.ascontiguousarray(part) for part in (weight, bias))
    _normalise(rows, *contiguous, number(eps), number(1.0 / weight.size), out, mean, rstd)
    return out.reshape(x.shape), (mean, rstd)


@loop("reassoc", "nsz")
def _normalise(rows: Array, weight: Array, bias: Array, eps: Any, share: Any, out: Array, mean: Array, rstd: Array) -> None:
    zero, one = rows.dtype.type(0), rows.dtype.type(1)
    width = len(weight)
    for i in range(len(rows)):
        total, rest, spread = zero, zero, zero
        for j in range(width):
            total += rows[i, j]
        guess = total * share
        for j in range(width):
            rest += rows[i, j] - guess
        centre = guess + rest * share  # a large mean loses digits the first time
        for j in range(width):
            off = rows[i, j] - centre
            spread += off * off
        scale = one / numpy.sqrt(spread * share + eps)
        for j in range(width):
            out[i, j] = (rows[i, j] - centre) * scale * weight[j] + bias[j]
        mean[i], rstd[i] = centre, scale


def _backward(g: Array, residuals: Any, inputs: Sequence[Array], needs: Sequence[bool], *, eps: float) -> list[Array | None]:
    x, weight, _ = inputs
    mean, rstd = residuals
    rows, g_rows = as_rows(x, weight.size), as_rows(g, weight.size)
    g_x = numpy.empty_like(rows)
    g_weight, g_bias = numpy.zeros((2, weight.size), x.dtype)
    _differentiate(g_rows, rows, numpy.ascontiguousarray(weight), mean, rstd, x.dtype.type(1.0 / weight.size), g_x, g_weight, g_bias)
    return [grad if needed else None for grad, needed in zip((g_x.reshape(x.shape), g_weight, g_bias), needs, strict=True)]


@loop("reassoc", "nsz")
def _differentiate(
    g: Array, rows: Array, weight: Array, mean: Array, rstd: Array, share: Any, g_x: Array, g_weight: Array, g_bias: Array
) -> None:
    zero = rows.dtype.type(0)
    width = len(weight)
    for i in range(len(rows)):
        centre, scale = mean[i], rstd[i]
        along_mean, along_x = zero, zero
        for j in range(width):
            unit = (rows[i, j] - centre) * scale
            part = g[i, j] * weight[j]
            along_mean += part
            along_x += part * unit
            g_weight[j] += g[i, j] * unit
            g_bias[j] += g[i, j]
        along_mean *= share
        along_x *= share
        # what points along the mean and along x itself is removed: normalisation undoes changes in these two directions
        for j in range(width):
            unit = (rows[i, j] - centre) * scale
            g_x[i, j] = (g[i, j] * weight[j] - along_mean - unit * along_x) * scale


layer_norm = Kernel(_forward, _backward)
