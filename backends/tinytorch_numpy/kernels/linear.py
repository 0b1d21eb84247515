"""The matmul of a linear layer, with the bias added in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import as_rows, matmul, row_matmul, supports


def _forward(x: Array, weight: Array, bias: Array | None) -> Any:
    """``x (..., in) @ weight (out, in)^T + bias (out)`` -> (..., out)."""
    if not supports(x, weight, bias) or weight.size == 0 or x.shape[-1:] != weight.shape[1:]:
        return NotImplemented
    rows = as_rows(x, weight.shape[1])
    out = row_matmul(rows, weight) if len(rows) == 1 else matmul(rows, weight.T)
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], weight.shape[0]), None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    x, weight, _ = inputs
    g_rows = as_rows(g, weight.shape[0])
    return [
        matmul(g_rows, weight).reshape(x.shape) if needs[0] else None,
        matmul(g_rows.T, as_rows(x, weight.shape[1])) if needs[1] else None,
        g_rows.sum(axis=0) if needs[2] else None,
    ]


linear = Kernel(_forward, _backward)
