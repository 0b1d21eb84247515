"""Looking up rows of a table. The gradient sorts the ids and adds up the rows of each, which lie together then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import all_within, as_rows, takes


def _forward(weight: Array, ids: Array) -> Any:
    """Rows of ``weight (V, D)`` at the integers ``ids``, of any shape: (*ids.shape, D)."""
    if not takes(weight) or weight.size == 0 or not all_within(ids, weight.shape[0]):
        return NotImplemented
    return numpy.take(weight, ids, axis=0), None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    weight, ids = inputs
    g_weight = numpy.zeros(weight.shape, weight.dtype)
    flat = numpy.ravel(ids)
    order = numpy.argsort(flat, kind="stable")
    rows = as_rows(g, weight.shape[1])[order]
    distinct, counts = numpy.unique(flat[order], return_counts=True)
    start = 0
    for index, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        numpy.add.reduce(rows[start : start + count], axis=0, out=g_weight[index])
        start += count
    return [g_weight, None]


embedding = Kernel(_forward, _backward)
