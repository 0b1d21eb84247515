"""Looking up rows of a table."""

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
    """Rows of ``weight (V, D)`` at the whole numbers ``ids``, of any shape: (*ids.shape, D); NaN unless 0 <= id < V."""
    flat = xp.reshape(ids, (prod(ids.shape),))
    known = (flat >= 0) & (flat < weight.shape[0])
    rows = xp.take(weight, xp.where(known, flat, xp.zeros_like(flat)), axis=0)
    return xp.reshape(xp.where(known[:, None], rows, xp.full((), nan, dtype=rows.dtype)), (*ids.shape, weight.shape[1])), None


@embedding.joint_derivative
def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    weight, ids = inputs
    length, width = weight.shape
    n = prod(ids.shape)
    flat = xp.reshape(ids, (n,))
    known = (flat >= 0) & (flat < length)
    places = xp.where(known, flat, xp.full_like(flat, length))  # the rest are summed in a row of their own, which is dropped
    sums = segment_sum(xp, xp.reshape(upcast(xp, g), (n, width)), places, length + 1)
    return [downcast(xp, sums[:length, ...], weight), None]
