"""Cross-entropy of a softmax. Nothing of the size of the logits is kept; their gradient is worked out in its own array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import all_within, chunks, takes


def _forward(logits: Array, targets: Array, *, ignore_index: int, label_smoothing: float) -> Any:
    """``-log softmax(logits (N, V))[targets (N)]`` for each row: (N), 0 where the target is ``ignore_index``.

    Residuals: the logarithm of each row's sum of exponentials, (N).
    """
    if not takes(logits) or label_smoothing or logits.size == 0:
        return NotImplemented
    count, classes = logits.shape
    kept = targets != ignore_index
    places = numpy.where(kept, targets, 0)
    if not all_within(places, classes):
        return NotImplemented
    log_sum = numpy.empty(count, logits.dtype)
    ones = numpy.ones(classes, logits.dtype)
    for some in chunks(count, classes):
        top = logits[some].max(axis=-1)
        exponentials = logits[some] - top[:, None]
        numpy.exp(exponentials, out=exponentials)
        total = numpy.vecdot(exponentials, ones, out=log_sum[some])
        numpy.log(total, out=total)
        total += top
    losses = log_sum - logits[numpy.arange(count), places]
    return numpy.where(kept, losses, 0), log_sum


def _backward(
    g: Array, log_sum: Array, inputs: Sequence[Array], needs: Sequence[bool], *, ignore_index: int, label_smoothing: float
) -> list[Array | None]:
    logits, targets = inputs
    count, classes = logits.shape
    kept = targets != ignore_index
    weight = numpy.where(kept, g, 0)
    out = numpy.empty(logits.shape, logits.dtype)
    for some in chunks(count, classes):
        part = numpy.subtract(logits[some], log_sum[some, None], out=out[some])
        numpy.exp(part, out=part)
        part *= weight[some, None]
    out[numpy.arange(count), numpy.where(kept, targets, 0)] -= weight
    return [out, None]


cross_entropy = Kernel(_forward, _backward)
