"""Softmax cross-entropy. It stores nothing of the size of the logits; the backward pass allocates only their gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import all_in_bounds, chunks, supports


def _forward(logits: Array, targets: Array, *, ignore_index: int, label_smoothing: float) -> Any:
    """``-log softmax(logits)[target]`` for logits (N, V) and targets (N): losses (N), 0 where the target is ``ignore_index``.

    Residuals: the log-sum-exp of each row, (N).
    """
    if not supports(logits) or label_smoothing or logits.size == 0:
        return NotImplemented
    count, classes = logits.shape
    included = targets != ignore_index
    indices = numpy.where(included, targets, 0)
    if not all_in_bounds(indices, classes):
        return NotImplemented
    log_sum = numpy.empty(count, logits.dtype)
    ones = numpy.ones(classes, logits.dtype)
    for chunk in chunks(count, classes):
        row_max = logits[chunk].max(axis=-1)
        exponentials = logits[chunk] - row_max[:, None]
        numpy.exp(exponentials, out=exponentials)
        row_sum = numpy.vecdot(exponentials, ones, out=log_sum[chunk])
        numpy.log(row_sum, out=row_sum)
        row_sum += row_max
    losses = log_sum - logits[numpy.arange(count), indices]
    return numpy.where(included, losses, 0), log_sum


def _backward(
    g: Array, log_sum: Array, inputs: Sequence[Array], needs: Sequence[bool], *, ignore_index: int, label_smoothing: float
) -> list[Array | None]:
    logits, targets = inputs
    count, classes = logits.shape
    included = targets != ignore_index
    weight = numpy.where(included, g, 0)
    out = numpy.empty(logits.shape, logits.dtype)
    for chunk in chunks(count, classes):
        g_chunk = numpy.subtract(logits[chunk], log_sum[chunk, None], out=out[chunk])
        numpy.exp(g_chunk, out=g_chunk)
        g_chunk *= weight[chunk, None]
    out[numpy.arange(count), numpy.where(included, targets, 0)] -= weight
    return [out, None]


cross_entropy = Kernel(_forward, _backward)
