"""Backends: the interface to an array library, the registry of implementations, and the default backend for new arrays.

Importing this package loads no array library and no plugin.
"""

from tinytorch.backend.contract import Array, Backend, Capabilities, Kernel, MemoryInfo, Namespace, Step
from tinytorch.backend.dtypes import DTYPES, DType, dtype_named
from tinytorch.backend.errors import BackendError, BackendMismatchError, BackendUnavailableError, UnknownBackendError
from tinytorch.backend.registry import BackendSpec, Factory, get_backend, known_backends, register_backend, set_namespace_factory
from tinytorch.backend.selection import current_backend, set_backend, use_backend
from tinytorch.backend.status import BackendStatus, backend_status

__all__ = [
    "DTYPES",
    "Array",
    "Backend",
    "BackendError",
    "BackendMismatchError",
    "BackendSpec",
    "BackendStatus",
    "BackendUnavailableError",
    "Capabilities",
    "DType",
    "Factory",
    "Kernel",
    "MemoryInfo",
    "Namespace",
    "Step",
    "UnknownBackendError",
    "backend_status",
    "current_backend",
    "dtype_named",
    "get_backend",
    "known_backends",
    "register_backend",
    "set_backend",
    "set_namespace_factory",
    "use_backend",
]
