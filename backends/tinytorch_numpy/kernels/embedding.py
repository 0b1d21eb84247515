"""Embedding lookup. The backward pass sorts the ids, so that the rows of each id are contiguous, and sums them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import all_in_bounds, as_rows, supports


def _forward(weight: Array, ids: Array) -> Any:
    """Rows of ``weight (V, D)`` at integer ``ids`` of any shape: (*ids.shape, D)."""
    if not supports(weight) or weight.size == 0 or not all_in_bounds(ids, weight.shape[0]):
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
