"""Looking up rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, prod
from typing import Any

from tinytorch.kernels.fused import Fused
from tinytorch.kernels.precision import narrow, widen


def _forward(xp: Any, weight: Any, ids: Any) -> tuple[Any, None]:
    """Rows of ``weight (V, D)`` at the whole numbers ``ids``, of any shape: (*ids.shape, D); NaN unless 0 <= id < V."""
    flat = xp.reshape(ids, (prod(ids.shape),))
    known = (flat >= 0) & (flat < weight.shape[0])
    rows = xp.take(weight, xp.where(known, flat, xp.zeros_like(flat)), axis=0)
    return xp.reshape(xp.where(known[:, None], rows, xp.full((), nan, dtype=rows.dtype)), (*ids.shape, weight.shape[1])), None


def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    weight, ids = inputs
    n = prod(ids.shape)
    rows = xp.reshape(widen(xp, g), (n, weight.shape[1]))
    flat = xp.reshape(ids, (n,))
    flat = xp.where(flat < 0, xp.full_like(flat, weight.shape[0]), flat)  # beyond the last row: a negative id is none of them
    return [narrow(xp, _add_rows(xp, rows, flat, weight.shape[0]), weight), None]


def _add_rows(xp: Any, rows: Any, ids: Any, length: int) -> Any:
    """Sum the (N, D) ``rows`` that belong to each of ``length`` ids: (length, D).

    For few ids a product with the one-hot matrix; for many, differences of the running sum over the rows in order of their id. Both are
    quicker than exact sums, and a gradient that is not finite, which they spread, ends training anyway.
    """
    if length <= 256:
        one_hot = xp.astype(xp.arange(length, dtype=ids.dtype)[:, None] == ids[None, :], rows.dtype)
        return xp.matmul(one_hot, rows)
    order = xp.argsort(ids, stable=True)
    running = xp.cumulative_sum(xp.take(rows, order, axis=0), axis=0, include_initial=True)
    ordered = xp.take(ids, order, axis=0)
    places = xp.arange(length, dtype=ids.dtype)
    first, after = xp.searchsorted(ordered, places, side="left"), xp.searchsorted(ordered, places, side="right")
    return xp.take(running, after, axis=0) - xp.take(running, first, axis=0)


embedding = Fused("embedding", _forward, _backward)
