"""Looking up rows of a table. The gradient sorts the ids and adds up the rows of each, which lie together then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import all_within, as_rows, takes


def _forward(weight: Array, ids: Array) -> Any:
    """Rows of ``weight (V, D)`` at the whole numbers ``ids``, of any shape: (*ids.shape, D)."""
    if not takes(weight) or weight.size == 0 or not all_within(ids, weight.shape[0]):
        return NotImplemented
    return numpy.take(weight, ids, axis=0), None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    weight, ids = inputs
    g_weight = numpy.zeros(weight.shape, weight.dtype)
    flat = numpy.ravel(ids)
    order = numpy.argsort(flat, kind="stable")
    ordered = flat[order]
    rows = as_rows(g, weight.shape[1])[order]
    ends = [*(numpy.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(rows)] if len(rows) else []
    start = 0
    for index, end in zip(ordered[[e - 1 for e in ends]].tolist() if ends else [], ends, strict=True):
        numpy.add.reduce(rows[start:end], axis=0, out=g_weight[index])
        start = end
    return [g_weight, None]


embedding = Kernel(_forward, _backward)
