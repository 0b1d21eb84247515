"""tinytorch: one deep-learning framework, written once against the Python Array API standard, on any array library."""

from tinytorch import array_api
from tinytorch.array_api import *
from tinytorch.array_api.namespace import BoundNamespace
from tinytorch.autograd import grad, value_and_grad
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
from tinytorch.operation import NotDifferentiableError
from tinytorch.tape import enable_grad, no_grad
from tinytorch.tensor import Tensor

__version__ = "0.1.0"

set_namespace_factory(lambda backend: BoundNamespace(backend, array_api))
