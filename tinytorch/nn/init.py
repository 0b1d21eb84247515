"""Initial values of parameters, drawn on the host from the one seed, so that a run starts from the same numbers on every backend."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tinytorch.array_api import broadcast_to, full
from tinytorch.nn.module import Parameter
from tinytorch.ops import random

_blank: ContextVar[bool] = ContextVar("tinytorch_blank", default=False)


@contextmanager
def skip_init() -> Iterator[None]:
    """Make parameters that are zero inside a ``with`` block, for models whose weights are about to be read: nothing is drawn or filled."""
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


def _zeros(shape: tuple[int, ...]) -> Parameter:
    """One zero, seen from everywhere: no memory is taken for what will be replaced."""
    parameter = Parameter(0.0)
    parameter.raw = broadcast_to(parameter.detach(), shape).raw
    return parameter


def uniform(shape: tuple[int, ...], bound: float) -> Parameter:
    """Values in [-bound, bound)."""
    if _blank.get():
        return _zeros(shape)
    return Parameter(random.generator().uniform(-bound, bound, shape), dtype="float32")


def normal(shape: tuple[int, ...], std: float = 1.0) -> Parameter:
    """Values of the normal distribution with mean 0."""
    if _blank.get():
        return _zeros(shape)
    return Parameter(random.generator().normal(0.0, std, shape), dtype="float32")


def constant(shape: tuple[int, ...], value: float) -> Parameter:
    """One value everywhere."""
    return Parameter(full(shape, value, dtype="float32"))


def xavier_uniform(shape: tuple[int, ...], gain: float = 1.0) -> Parameter:
    """Uniform for weights (out, in), of equal variance forward and backward (Glorot and Bengio 2010, PMLR 9, equation 16)."""
    return uniform(shape, gain * math.sqrt(6.0 / (shape[0] + shape[1])))
