"""Layer normalization, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.support import loop
from tinytorch_numpy.kernels.support import as_rows, supports


def _forward(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Any:
    """Normalize ``x (..., D)`` to mean 0 and variance 1 over the last axis, then scale by ``weight (D)`` and add ``bias (D)``, if any.

    Residuals: the mean and the reciprocal standard deviation of each row, (N) each.
    """
    if weight is None or not supports(x, weight, bias) or weight.size == 0 or x.shape[-1:] != weight.shape:
        return NotImplemented
    rows = as_rows(x, weight.size)
    out = numpy.empty_like(rows)
    mean, rstd = numpy.empty((2, len(rows)), x.dtype)
    dtype = x.dtype.type
    contiguous = (numpy.ascontiguousarray(array) for array in (weight, numpy.zeros_like(weight) if bias is None else bias))
    _normalize(rows, *contiguous, dtype(eps), dtype(1.0 / weight.size), out, mean, rstd)
    return out.reshape(x.shape), (mean, rstd)


@loop("reassoc", "nsz")
def _normalize(rows: Array, weight: Array, bias: Array, eps: Any, inv_width: Any, out: Array, mean: Array, rstd: Array) -> None:
    zero, one = rows.dtype.type(0), rows.dtype.type(1)
    width = len(weight)
    for i in range(len(rows)):
        row_sum, correction, variance = zero, zero, zero
        for j in range(width):
            row_sum += rows[i, j]
        rough_mean = row_sum * inv_width
        for j in range(width):
            correction += rows[i, j] - rough_mean
        center = rough_mean + correction * inv_width  # corrects the rounding error of a large mean
        for j in range(width):
            difference = rows[i, j] - center
            variance += difference * difference
        scale = one / numpy.sqrt(variance * inv_width + eps)
        for j in range(width):
            out[i, j] = (rows[i, j] - center) * scale * weight[j] + bias[j]
        mean[i], rstd[i] = center, scale


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
    g: Array, rows: Array, weight: Array, mean: Array, rstd: Array, inv_width: Any, g_x: Array, g_weight: Array, g_bias: Array
) -> None:
    zero = rows.dtype.type(0)
    width = len(weight)
    for i in range(len(rows)):
        center, scale = mean[i], rstd[i]
        mean_component, x_component = zero, zero
        for j in range(width):
            normalized = (rows[i, j] - center) * scale
            weighted_g = g[i, j] * weight[j]
            mean_component += weighted_g
            x_component += weighted_g * normalized
            g_weight[j] += g[i, j] * normalized
            g_bias[j] += g[i, j]
        mean_component *= inv_width
        x_component *= inv_width
        # remove the components along the mean and along x: normalization cancels changes in these two directions
        for j in range(width):
            normalized = (rows[i, j] - center) * scale
            g_x[i, j] = (g[i, j] * weight[j] - mean_component - normalized * x_component) * scale


layer_norm = Kernel(_forward, _backward)
