"""tinytorch: a deep-learning framework with the API of PyTorch, written against the Python Array API standard, for any array library.

This module is itself an Array API namespace, like numpy: its functions take and return Tensors and are differentiable. New Tensors are
created on the current backend (`use_backend`, `set_backend`, ``TINYTORCH_BACKEND``), by default numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tinytorch import array_api
from tinytorch.aliases import cat as cat, tensor as tensor
from tinytorch.array_api import *
from tinytorch.array_api import __array_api_version__ as __array_api_version__, __array_namespace_info__ as __array_namespace_info__
from tinytorch.array_api.namespace import BoundNamespace
from tinytorch.autograd.arguments import NotDifferentiableError as NotDifferentiableError
from tinytorch.autograd.forward import hvp as hvp, jvp as jvp
from tinytorch.autograd.grad_mode import enable_grad as enable_grad, no_grad as no_grad
from tinytorch.autograd.matrices import hessian as hessian, jacobian as jacobian
from tinytorch.autograd.recompute import checkpoint as checkpoint
from tinytorch.autograd.reverse import grad as grad, value_and_grad as value_and_grad, vjp as vjp
from tinytorch.backend import (
    BackendError as BackendError,
    BackendMismatchError as BackendMismatchError,
    BackendUnavailableError as BackendUnavailableError,
    UnknownBackendError as UnknownBackendError,
    current_backend as current_backend,
    get_backend as get_backend,
    register_backend as register_backend,
    set_backend as set_backend,
    set_namespace_factory,
    use_backend as use_backend,
)
from tinytorch.backend.tuning import tune as tune
from tinytorch.hints import missing_name
from tinytorch.random_numbers import (
    multinomial as multinomial,
    rand as rand,
    randint as randint,
    randn as randn,
    randperm as randperm,
)
from tinytorch.tensor import Tensor as Tensor
from tinytorch.tensor_methods.forwarded import document

__version__ = "0.1.0"

set_namespace_factory(lambda backend: BoundNamespace(backend, array_api))
document(vars(array_api))


def seed(n: int) -> None:
    """Seed all random numbers: initial weights, batches, dropout and sampling.

    Args:
        n: the seed, a non-negative integer. Without a call the seed is 0.

    Raises:
        ValueError: ``n`` is negative.

    Example:
        >>> tt.seed(0)
        >>> first = nn.Linear(2, 2).weight.detach().numpy()
        >>> tt.seed(0)
        >>> bool((nn.Linear(2, 2).weight.detach().numpy() == first).all())
        True
    """
    from tinytorch.ops import random

    random.seed(n)


manual_seed = seed


if TYPE_CHECKING:  # type checkers read these imports, and so report misspelled names
    from tinytorch import (
        generation as generation,
        models as models,
        nn as nn,
        ops as ops,
        optim as optim,
        testing as testing,
        text as text,
        training as training,
        vision as vision,
    )
    from tinytorch.saving import load as load, save as save
else:
    # imported on first use, so that `import tinytorch` stays fast
    _FILES = ("load", "save")
    _PACKAGES = ("generation", "models", "nn", "ops", "optim", "testing", "text", "training", "vision")

    __all__ = [
        *array_api.__all__,
        "BackendError",
        "BackendMismatchError",
        "BackendUnavailableError",
        "NotDifferentiableError",
        "Tensor",
        "UnknownBackendError",
        "__version__",
        "cat",
        "checkpoint",
        "current_backend",
        "enable_grad",
        "get_backend",
        "grad",
        "hessian",
        "hvp",
        "jacobian",
        "jvp",
        "load",
        "manual_seed",
        "multinomial",
        "no_grad",
        "rand",
        "randint",
        "randn",
        "randperm",
        "register_backend",
        "save",
        "seed",
        "set_backend",
        "tensor",
        "tune",
        "use_backend",
        "value_and_grad",
        "vjp",
    ]

    def __getattr__(name):
        if name in _PACKAGES:
            return import_module(f"tinytorch.{name}")
        if name in _FILES:
            return getattr(import_module("tinytorch.saving"), name)
        raise AttributeError(missing_name(name, __dir__()))

    def __dir__():
        return [*__all__, *_PACKAGES]
