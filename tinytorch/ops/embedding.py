"""Embedding: select rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, prod
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.array_api.segment_sum import segment_sum
from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def embedding(xp: Any, weight: Any, ids: Any) -> tuple[Tensor, None]:
    """Select rows of ``weight (V, D)`` by the integers ``ids``.

    Args:
        weight: table, (V, D).
        ids: integers of any shape.

    Returns:
        Rows, (*ids.shape, D); NaN where an id is out of bounds, that is not ``0 <= id < V``.

    Example:
        >>> tt.ops.embedding(tt.asarray([[1.0, 2.0], [3.0, 4.0]]), tt.asarray([1, 0]))
        Tensor([[3., 4.],
                [1., 2.]], dtype=float32, device='numpy:cpu')
    """
    flat = xp.reshape(ids, (prod(ids.shape),))
    in_bounds = (flat >= 0) & (flat < weight.shape[0])
    rows = xp.take(weight, xp.where(in_bounds, flat, xp.zeros_like(flat)), axis=0)
    return xp.reshape(xp.where(in_bounds[:, None], rows, xp.full((), nan, dtype=rows.dtype)), (*ids.shape, weight.shape[1])), None


@embedding.joint_derivative
def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    weight, ids = inputs
    length, width = weight.shape
    n = prod(ids.shape)
    flat = xp.reshape(ids, (n,))
    in_bounds = (flat >= 0) & (flat < length)
    indices = xp.where(in_bounds, flat, xp.full_like(flat, length))  # gradients of other ids go to an extra row, which is dropped
    sums = segment_sum(xp, xp.reshape(upcast(xp, g), (n, width)), indices, length + 1)
    return [downcast(xp, sums[:length, ...], weight), None]
