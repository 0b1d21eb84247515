"""The matmuls of a linear layer, two-dimensional and without copies of their operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.gemm import DATA_TYPES, column_sums, matmul


def _forward(x: Array, weight: Array, bias: Array | None) -> Any:
    """``x (..., in) @ weight (out, in)^T + bias (out)`` -> (..., out). 16-bit matmuls accumulate in float32."""
    types = {array.dtype for array in (x, weight, bias) if array is not None}
    if len(types) > 1 or x.dtype.name not in DATA_TYPES or x.shape[-1:] != weight.shape[1:]:
        return NotImplemented
    out = matmul(_rows(x, weight.shape[1]), weight.T)
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], weight.shape[0]), None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    x, weight, _ = inputs
    g_rows = _rows(g.astype(weight.dtype, copy=False), weight.shape[0])
    return [
        matmul(g_rows, weight).reshape(x.shape) if needs[0] else None,
        matmul(g_rows.T, _rows(x, weight.shape[1])) if needs[1] else None,
        column_sums(g_rows) if needs[2] else None,
    ]


def _rows(x: Array, width: int) -> Array:
    """``x (..., width)`` as (N, width), without a copy if the leading axes can be merged."""
    return x.reshape(x.size // width if width else 0, width)


linear = Kernel(_forward, _backward)
