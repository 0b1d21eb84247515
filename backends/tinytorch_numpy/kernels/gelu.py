"""The Gaussian error linear unit, some elements at a time: every pass after the first finds them in the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import CHUNK, chunks, takes

_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715

#: ``erfc(x) = t exp(-x^2 + c_0 + c_1 t + c_2 t^2 + ...)`` for x >= 0 with ``t = 1 / (1 + x / 2)``, to a relative 1.2e-7: enough for float32
#: (Numerical Recipes, 2nd ed., section 6.2).
_ERFC = (-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277)


def _forward(x: Array, *, approximate: str) -> Any:
    """x times the probability that a standard normal number is below it, by the tanh formula or, in float32, the error function.

    Residuals: that probability. With it the derivative needs no second tanh.
    """
    if not takes(x) or (approximate != "tanh" and x.dtype != numpy.float32):
        return NotImplemented
    values = numpy.ravel(x)
    out, below = numpy.empty_like(values), numpy.empty_like(values)
    fill = _below_tanh if approximate == "tanh" else _below_erf
    spare = numpy.empty((2, min(CHUNK, values.size)), x.dtype)
    for some in chunks(values.size):
        part = values[some]
        fill(part, below[some], spare[:, : part.size])
        numpy.multiply(part, below[some], out=out[some])
    return out.reshape(x.shape), below


def _below_tanh(x: Array, out: Array, spare: Array) -> None:
    """``(1 + tanh(s (x + c x^3))) / 2``."""
    numpy.multiply(x, x, out=out)  # never x**3, which is a hundred times slower
    out *= _SCALE * _CUBIC
    out += _SCALE
    out *= x
    numpy.tanh(out, out=out)
    out *= 0.5
    out += 0.5


def _below_erf(x: Array, out: Array, spare: Array) -> None:
    """``erfc(-x / sqrt(2)) / 2``."""
    t, square = spare
    numpy.abs(x, out=t)
    t *= 0.5 * math.sqrt(0.5)
    t += 1.0
    numpy.divide(1.0, t, out=t)
    numpy.multiply(t, _ERFC[-1], out=out)
    for coefficient in _ERFC[-2:0:-1]:
        out += coefficient
        out *= t
    out += _ERFC[0]
    numpy.multiply(x, x, out=square)
    square *= 0.5
    out -= square
    numpy.exp(out, out=out)
    out *= t
    out *= 0.5  # the share beyond |x|
    # h below zero and 1 - h above it, without a branch: 1/2 + sign(x) (1/2 - h)
    numpy.subtract(0.5, out, out=out)
    numpy.copysign(out, x, out=out)
    out += 0.5


def _backward(g: Array, below: Array, inputs: Sequence[Array], needs: Sequence[bool], *, approximate: str) -> list[Array | None]:
    (x,) = inputs
    values, g_values = numpy.ravel(x), numpy.ravel(g)
    out = numpy.empty_like(values)
    fill = _slope_tanh if approximate == "tanh" else _slope_erf
    spare = numpy.empty(min(CHUNK, values.size), x.dtype)
    for some in chunks(values.size):
        part = out[some]
        fill(values[some], below[some], part, spare[: part.size])
        part *= g_values[some]
    return [out.reshape(x.shape)]


def _slope_tanh(x: Array, below: Array, out: Array, spare: Array) -> None:
    """``h + h (1 - h) x (2 s + 6 s c x^2)``, with h the residual."""
    numpy.multiply(x, x, out=out)
    out *= 6.0 * _SCALE * _CUBIC
    out += 2.0 * _SCALE
    out *= x
    numpy.subtract(1.0, below, out=spare)
    out *= spare
    out += 1.0
    out *= below


def _slope_erf(x: Array, below: Array, out: Array, spare: Array) -> None:
    """``h + x exp(-x^2 / 2) / sqrt(2 pi)``, with h the residual."""
    numpy.multiply(x, x, out=out)
    out *= -0.5
    numpy.exp(out, out=out)
    out *= 1.0 / math.sqrt(2 * math.pi)
    out *= x
    out += below


gelu = Kernel(_forward, _backward)
