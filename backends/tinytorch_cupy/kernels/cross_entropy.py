"""Softmax cross-entropy; see ``cross_entropy.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.launch import FLOATS, INTEGERS, Source, contiguous, empty, supports, variants

_source = Source("cross_entropy", variants(ELEMENT=FLOATS, INDEX=INTEGERS))


def _threads(classes: int) -> int:
    """Number of threads per row, a multiple of the warp size: one for every 8 classes, 512 at most."""
    return max(32, min(512, -(-classes // 8 // 32) * 32))


def _forward(logits: Array, targets: Array, *, ignore_index: int, label_smoothing: float) -> Any:
    """``-log softmax(logits)[target]`` for logits (N, V) and targets (N): float32 losses (N); see the portable version.

    Residuals: the log-sum-exp of each row, (N).
    """
    if (
        not supports(logits)
        or targets.dtype.name not in INTEGERS
        or logits.ndim != 2
        or targets.shape != logits.shape[:1]
        or logits.size == 0
    ):
        return NotImplemented
    losses, log_sums = empty(targets.shape, "float32"), empty(targets.shape, "float32")
    arrays = (contiguous(logits), contiguous(targets), losses, log_sums)
    _run("cross_entropy_forward", arrays, logits, targets, ignore_index, label_smoothing)
    return losses, log_sums


def _backward(
    g: Array, log_sums: Array, inputs: Sequence[Array], needs: Sequence[bool], *, ignore_index: int, label_smoothing: float
) -> list[Array | None]:
    logits, targets = inputs
    g_logits = empty(logits.shape, logits.dtype)
    arrays = (contiguous(g, numpy.dtype("float32")), contiguous(logits), contiguous(targets), log_sums, g_logits)
    _run("cross_entropy_backward", arrays, logits, targets, ignore_index, label_smoothing)
    return [g_logits, None]


def _run(function: str, arrays: tuple[Array, ...], logits: Array, targets: Array, ignore_index: int, smoothing: float) -> None:
    rows, classes = logits.shape
    numbers = (numpy.int32(classes), numpy.int64(ignore_index), numpy.float32(smoothing))
    macros = {"ELEMENT": logits.dtype.name, "INDEX": targets.dtype.name}
    _source.launch(function, (rows,), (_threads(classes),), *arrays, *numbers, **macros)


cross_entropy = Kernel(_forward, _backward)
