"""Initialization of parameters. Values are drawn on the CPU from the global seed, so they are the same on every backend."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tinytorch.array_api import broadcast_to, full
from tinytorch.nn.module import Parameter
from tinytorch.ops import random

_skipping: ContextVar[bool] = ContextVar("tinytorch_skip_init", default=False)


@contextmanager
def skip_init() -> Iterator[None]:
    """Skip initialization inside a ``with`` block, for a model whose weights are loaded next: its parameters are 0 and take no memory."""
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def _zeros(shape: tuple[int, ...]) -> Parameter:
    """A parameter of zeros that is one broadcast scalar, and so takes no memory."""
    parameter = Parameter(0.0)
    parameter.raw = broadcast_to(parameter.detach(), shape).raw
    return parameter


def uniform(shape: tuple[int, ...], bound: float) -> Parameter:
    """Return a float32 parameter drawn from the uniform distribution on [-bound, bound)."""
    if _skipping.get():
        return _zeros(shape)
    return Parameter(random.generator().uniform(-bound, bound, shape), dtype="float32")


def normal(shape: tuple[int, ...], std: float = 1.0) -> Parameter:
    """Return a float32 parameter drawn from the normal distribution with mean 0 and standard deviation ``std``."""
    if _skipping.get():
        return _zeros(shape)
    return Parameter(random.generator().normal(0.0, std, shape), dtype="float32")


def constant(shape: tuple[int, ...], value: float) -> Parameter:
    """Return a float32 parameter filled with ``value``."""
    return Parameter(full(shape, value, dtype="float32"))


def xavier_uniform(shape: tuple[int, ...], gain: float = 1.0) -> Parameter:
    """Return a weight (out, in) initialized by the uniform distribution of Glorot and Bengio (2010, PMLR 9, equation 16).

    Its bound is ``gain * sqrt(6 / (in + out))``.
    """
    return uniform(shape, gain * math.sqrt(6.0 / (shape[0] + shape[1])))
