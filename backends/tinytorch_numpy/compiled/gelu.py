"""The Gaussian error linear unit by the tanh formula in float32, in one pass, with an exponential that LLVM can work out many at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.compiled.exponential import exponential
from tinytorch_numpy.compiled.support import loop

_ONE: Final = numpy.float32(1)
# twice s, s c and 3 s c, for tanh(s (x + c x^3))
_SCALE: Final = numpy.float32(2 * math.sqrt(2 / math.pi))
_CUBIC: Final = numpy.float32(2 * math.sqrt(2 / math.pi) * 0.044715)
_SLOPE: Final = numpy.float32(6 * math.sqrt(2 / math.pi) * 0.044715)


def _forward(x: Array, *, approximate: str) -> Any:
    """x times the probability that a standard normal number is below it. Residuals: that probability."""
    if x.dtype != numpy.float32 or approximate != "tanh":
        return NotImplemented
    values = numpy.ravel(x)
    out, below = numpy.empty_like(values), numpy.empty_like(values)
    _fill(values, out, below)
    return out.reshape(x.shape), below


@loop("contract")
def _fill(x: Array, out: Array, below: Array) -> None:
    """``(1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u))``, which keeps its digits where it is small."""
    for i in range(len(x)):
        value = x[i]
        share = _ONE / (_ONE + exponential(-value * (_SCALE + _CUBIC * value * value)))
        below[i] = share
        out[i] = value * share


def _backward(g: Array, below: Array, inputs: Sequence[Array], needs: Sequence[bool], *, approximate: str) -> list[Array | None]:
    (x,) = inputs
    out = numpy.empty_like(below)
    _differentiate(numpy.ravel(g), numpy.ravel(x), below, out)
    return [out.reshape(x.shape)]


@loop("contract")
def _differentiate(g: Array, x: Array, below: Array, out: Array) -> None:
    for i in range(len(x)):
        value, share = x[i], below[i]
        out[i] = g[i] * share * (_ONE + (_ONE - share) * value * (_SCALE + _SLOPE * value * value))


gelu = Kernel(_forward, _backward)
