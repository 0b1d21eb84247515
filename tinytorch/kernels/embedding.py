"""Looking up rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tinytorch.array_api.indexing import add_rows
from tinytorch.kernels.fused import Fused
from tinytorch.kernels.precision import narrow, widen


def _forward(xp: Any, weight: Any, ids: Any) -> tuple[Any, None]:
    """Rows of ``weight (V, D)`` at the whole numbers ``ids``, of any shape: (*ids.shape, D). The caller has checked 0 <= id < V."""
    return xp.reshape(xp.take(weight, xp.reshape(ids, (prod(ids.shape),)), axis=0), (*ids.shape, weight.shape[1])), None


def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    weight, ids = inputs
    n = prod(ids.shape)
    rows = xp.reshape(widen(xp, g), (n, weight.shape[1]))
    return [narrow(xp, add_rows(xp, rows, xp.reshape(ids, (n,)), weight.shape[0]), weight), None]


embedding = Fused("embedding", _forward, _backward)
