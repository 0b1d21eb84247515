"""Softmax in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import takes


def _forward(x: Array, *, axis: int) -> Any:
    """``exp(x) / sum(exp(x))`` along ``axis``, without overflow."""
    if not takes(x) or x.size == 0:
        return NotImplemented
    out = numpy.subtract(x, x.max(axis=axis, keepdims=True))
    numpy.exp(out, out=out)
    out /= out.sum(axis=axis, keepdims=True)
    return out, out


def _backward(g: Array, out: Array, inputs: Sequence[Array], needs: Sequence[bool], *, axis: int) -> list[Array | None]:
    grad = numpy.multiply(g, out)
    numpy.subtract(g, grad.sum(axis=axis, keepdims=True), out=grad)
    grad *= out
    return [grad]


softmax = Kernel(_forward, _backward)
