"""Initial values of parameters, drawn on the host from the one seed, so that a run starts from the same numbers on every backend."""

from __future__ import annotations

import math

from tinytorch import random
from tinytorch.array_api import full
from tinytorch.nn.module import Parameter


def uniform(shape: tuple[int, ...], bound: float) -> Parameter:
    """Values in [-bound, bound)."""
    return Parameter(random.generator().uniform(-bound, bound, shape), dtype="float32")


def normal(shape: tuple[int, ...], std: float = 1.0) -> Parameter:
    """Values of the normal distribution with mean 0."""
    return Parameter(random.generator().normal(0.0, std, shape), dtype="float32")


def constant(shape: tuple[int, ...], value: float) -> Parameter:
    """One value everywhere."""
    return Parameter(full(shape, value, dtype="float32"))


def xavier_uniform(shape: tuple[int, ...], gain: float = 1.0) -> Parameter:
    """Uniform for weights (out, in), of equal variance forward and backward (Glorot and Bengio 2010, PMLR 9, equation 16)."""
    return uniform(shape, gain * math.sqrt(6.0 / (shape[0] + shape[1])))
