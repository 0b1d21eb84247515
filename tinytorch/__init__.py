"""tinytorch: one deep-learning framework, written once against the Python Array API standard, on any array library.

This module is itself a namespace of the standard: its functions take and make Tensors, and are differentiable. New Tensors land on the
chosen backend (`use_backend`, `set_backend`, ``TINYTORCH_BACKEND``), numpy where nothing was chosen.
"""

from __future__ import annotations

from typing import Any

from tinytorch import array_api
from tinytorch.array_api import *
from tinytorch.array_api import __array_api_version__, __array_namespace_info__
from tinytorch.array_api.namespace import BoundNamespace
from tinytorch.autograd.forward import hvp, jvp
from tinytorch.autograd.graph import enable_grad, no_grad
from tinytorch.autograd.matrices import hessian, jacobian
from tinytorch.autograd.operation import NotDifferentiableError
from tinytorch.autograd.recompute import checkpoint
from tinytorch.autograd.reverse import grad, value_and_grad, vjp
from tinytorch.backend import (
    BackendError,
    BackendMismatchError,
    BackendUnavailableError,
    UnknownBackendError,
    current_backend,
    get_backend,
    register_backend,
    set_backend,
    set_namespace_factory,
    use_backend,
)
from tinytorch.backend.tuning import tune
from tinytorch.tensor import Tensor

__version__ = "0.1.0"

set_namespace_factory(lambda backend: BoundNamespace(backend, array_api))

#: Parts that are loaded when they are first named, so that array code does not wait for neural networks.
_LAZY = ("generation", "models", "nn", "ops", "optim", "text", "training", "vision")

__all__ = [
    *array_api.__all__,
    "BackendError",
    "BackendMismatchError",
    "BackendUnavailableError",
    "NotDifferentiableError",
    "Tensor",
    "UnknownBackendError",
    "__array_api_version__",
    "__array_namespace_info__",
    "__version__",
    "checkpoint",
    "current_backend",
    "enable_grad",
    "get_backend",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "no_grad",
    "register_backend",
    "seed",
    "set_backend",
    "tune",
    "use_backend",
    "value_and_grad",
    "vjp",
]


def seed(n: int) -> None:
    """Start all randomness afresh from ``n``: weights, batches, dropout and samples. See `tinytorch.ops.random.seed`."""
    from tinytorch.ops import random

    random.seed(n)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return import_module(f"tinytorch.{name}")
    raise AttributeError(f"module 'tinytorch' has no attribute {name!r}")
