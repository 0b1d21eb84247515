"""A dense layer's product, with the bias added in place."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import takes


def _forward(x: Array, weight: Array, bias: Array | None) -> Any:
    """``x (..., in) @ weight (out, in)^T + bias (out)`` -> (..., out)."""
    if not takes(x, weight, bias):
        return NotImplemented
    out = numpy.matmul(x.reshape(prod(x.shape[:-1]), x.shape[-1]), weight.T)
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], weight.shape[0]), None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    x, weight, _ = inputs
    rows = x.reshape(prod(x.shape[:-1]), x.shape[-1])
    g_rows = g.reshape(rows.shape[0], weight.shape[0])
    return [
        numpy.matmul(g_rows, weight).reshape(x.shape) if needs[0] else None,
        numpy.matmul(g_rows.T, rows) if needs[1] else None,
        numpy.matmul(numpy.ones(rows.shape[0], g.dtype), g_rows) if needs[2] else None,  # BLAS adds rows faster than sum(axis=0)
    ]


linear = Kernel(_forward, _backward)
