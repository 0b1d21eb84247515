"""Looking up rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, prod
from typing import Any

from tinytorch.array_api.indexing import add_rows
from tinytorch.kernels.fused import Fused
from tinytorch.kernels.precision import narrow, widen


def _forward(xp: Any, weight: Any, ids: Any) -> tuple[Any, None]:
    """Rows of ``weight (V, D)`` at the whole numbers ``ids``, of any shape: (*ids.shape, D); NaN unless 0 <= id < V."""
    flat = xp.reshape(ids, (prod(ids.shape),))
    known = (flat >= 0) & (flat < weight.shape[0])
    rows = xp.take(weight, xp.where(known, flat, xp.zeros_like(flat)), axis=0)
    return xp.reshape(xp.where(known[:, None], rows, nan), (*ids.shape, weight.shape[1])), None


def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    weight, ids = inputs
    n = prod(ids.shape)
    rows = xp.reshape(widen(xp, g), (n, weight.shape[1]))
    flat = xp.reshape(ids, (n,))
    flat = xp.where(flat < 0, xp.full_like(flat, weight.shape[0]), flat)  # beyond the last row: a negative id is none of them
    return [narrow(xp, add_rows(xp, rows, flat, weight.shape[0]), weight), None]


embedding = Fused("embedding", _forward, _backward)
