"""Initialization of parameters. Values are drawn on the CPU from the global seed, so they are the same on every backend.

Functions whose name ends in ``_`` change a Tensor in place and return it, as in ``torch.nn.init``; the others create a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tinytorch.array_api import asarray, broadcast_to, full
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.nn.hints import missing_name
from tinytorch.nn.module import Parameter
from tinytorch.ops import random
from tinytorch.tensor import Tensor

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


# ---- in place, as in torch.nn.init ----


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill a Tensor with ``val``.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> nn.init.constant_(layer.bias, 3.0).item()
        3.0
    """
    return _assign(tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill a Tensor with 0."""
    return _assign(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill a Tensor with 1."""
    return _assign(tensor, 1.0)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw the values from the normal distribution.

    Example:
        >>> def initialize(module):
        ...     if isinstance(module, nn.Linear):
        ...         nn.init.normal_(module.weight, std=0.02)
        >>> model = nn.Sequential(nn.Linear(2, 3)).apply(initialize)
    """
    return _assign(tensor, random.generator().normal(mean, std, tensor.shape))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Draw the values from the uniform distribution on [a, b)."""
    return _assign(tensor, random.generator().uniform(a, b, tensor.shape))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw a weight from the uniform distribution of Glorot and Bengio (2010, PMLR 9, equation 16)."""
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw a weight from the normal distribution with the variance of `xavier_uniform_`."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Draw a weight from the uniform distribution with the variance of `kaiming_normal_`."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Draw a weight from the normal distribution of He et al. (2015, arXiv:1502.01852, equation 14).

    Args:
        tensor: weight (out, in, ...).
        a: negative slope of the leaky ReLU after the layer; 0 for ReLU.
        mode: ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` that of the gradients in the backward pass.
        nonlinearity: of the next layer: ``"leaky_relu"``, ``"relu"``, ``"tanh"``, ``"sigmoid"`` or ``"linear"``.

    Raises:
        ValueError: ``mode`` or ``nonlinearity`` is unknown, or the Tensor has fewer than two axes.
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _assign(tensor: Tensor, values: Any) -> Tensor:
    """Replace the values of a Tensor; it stays a leaf of the graph."""
    if not _skipping.get():
        with no_grad():
            tensor[...] = values if isinstance(values, float | int) else asarray(values, dtype=tensor.dtype, device=tensor.device)
    return tensor


def _fans(tensor: Tensor) -> tuple[int, int]:
    """The number of inputs and of outputs of each unit of a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"this initialization needs a weight (out, in, ...), got shape {tensor.shape}; use normal_ or uniform_")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    gains = {"leaky_relu": math.sqrt(2.0 / (1.0 + a * a)), "relu": math.sqrt(2.0), "tanh": 5.0 / 3.0, "sigmoid": 1.0, "linear": 1.0}
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity must be one of {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity] / math.sqrt(_fans(tensor)[0 if mode == "fan_in" else 1])


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = missing_name("tinytorch.nn.init", [name for name in dir() if name.endswith("_") and not name.startswith("_")], {})
