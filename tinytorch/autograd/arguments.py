"""Conversion of the arguments of an operation from Tensors to raw arrays (those of the backend's library), and back.

Positional arguments are Tensors, Python numbers, or structures such as an index that contains Tensors. Settings are keyword arguments; an
operation is not differentiated with respect to them. A NumPy array counts as a Tensor if the backend is on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import EllipsisType, NoneType
from typing import Any

from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Node
from tinytorch.backend import Backend, DType, current_backend
from tinytorch.backend.device import Device
from tinytorch.backend.errors import reject_foreign_array, reject_host_input
from tinytorch.backend.host import HOST_ARRAYS, contains_host_array, copied_dtype, is_host_operand, is_host_scalar
from tinytorch.tensor import Tensor, check_same_backend, wrap

#: Types of arguments that are passed to a backend unchanged.
PASS_THROUGH = frozenset({int, float, bool, complex, str, NoneType, EllipsisType})


_HOST_ARRAYS = frozenset(HOST_ARRAYS)
_ARRAYS = (Tensor, *HOST_ARRAYS)


class NotDifferentiableError(RuntimeError):
    """The requested derivative does not exist, or no rule is defined for it."""


class ShapeDtype:
    """The shape and dtype of an array that was not saved, passed to a rule in its place (like ``jax.ShapeDtypeStruct``)."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


@lru_cache(maxsize=4096)
def shape_dtype(backend: Backend, shape: tuple[int, ...], dtype: Any) -> ShapeDtype:
    """A `ShapeDtype`, cached for speed. ``backend`` is part of the key, since dtypes of different libraries cannot be compared."""
    return ShapeDtype(shape, dtype)


def unwrap(name: str, backend: Backend, value: Any) -> Any:
    """Convert an argument of the operation ``name`` for the backend: Tensors to raw arrays, dtypes to dtypes of the library.

    Raises ``BackendMismatchError`` for a Tensor on another backend or device, for an array of another library, and for a NumPy array if
    the backend is not on the host.
    """
    if type(value) in PASS_THROUGH:
        return value
    if isinstance(value, Tensor):
        check_same_backend(name, backend, value)
        return value.raw
    if isinstance(value, DType):
        return backend.dtype(value.name)
    if isinstance(value, tuple):
        return tuple([unwrap(name, backend, item) for item in value])
    if isinstance(value, list):
        return [unwrap(name, backend, item) for item in value]
    if isinstance(value, Device):
        raise TypeError(f"{name} does not accept a device here; use x.to(device) to move a Tensor")
    if is_host_scalar(value):
        return value.item()
    if type(value) is not slice:
        if is_host_operand(value):
            return from_host(name, backend, value)
        reject_foreign_array(name, value, backend.spec)
    return value


def from_host(name: str, backend: Backend, array: Any) -> Any:
    """Copy a NumPy array that is an argument of ``name`` to a backend on the host; raises ``BackendMismatchError`` for other backends."""
    if not backend.capabilities.host:
        reject_host_input(name, array, backend.spec)
    return backend.from_host(array, copied_dtype(array, backend.capabilities.dtypes))


def as_tensors(name: str, *values: Any) -> Any:
    """The arguments of ``name``, with NumPy arrays as Tensors on the backend of the first Tensor, or else on the current backend."""
    if _HOST_ARRAYS.isdisjoint(map(type, values)):
        return values
    backend = next((value.backend for value in values if isinstance(value, Tensor)), None) or current_backend()
    return tuple([wrap(from_host(name, backend, value), backend) if is_host_operand(value) else value for value in values])


def backend_for(name: str, args: Sequence[Any]) -> Backend:
    """The backend of a call without Tensors: the current one if the arguments contain a NumPy array; otherwise raises ``TypeError``."""
    if not any(map(contains_host_array, args)):
        got = ", ".join(type(arg).__name__ for arg in args) or "nothing"
        raise TypeError(f"{name} expected a Tensor, got {got}; create one with tinytorch.asarray")
    return current_backend()


def unwrap_settings(name: str, backend: Backend, settings: dict[str, Any]) -> dict[str, Any]:
    """`unwrap` for keyword arguments."""
    if all_pass_through(settings):
        return settings
    return {key: unwrap(name, backend, value) for key, value in settings.items()}


def argument_types(args: Sequence[Any]) -> list[Any]:
    """The type of each argument; for a tuple or a list, such as an index, a tuple of the types of its items."""
    return [tuple(map(type, arg)) if type(arg) is tuple or type(arg) is list else type(arg) for arg in args]


def wrap_saved(backend: Backend, value: Any, saved_type: Any, node: Node | None) -> Any:
    """The inverse of `unwrap` for a saved input, given its type from `argument_types`: a Tensor with this node, if it was an array."""
    if isinstance(value, ShapeDtype):
        return ShapeDtype(value.shape, backend._dtypes[value.dtype])
    if isinstance(saved_type, tuple):
        return type(value)([wrap_saved(backend, item, t, None) for item, t in zip(value, saved_type, strict=True)])
    return wrap(value, backend, node) if issubclass(saved_type, _ARRAYS) else value


def reject_gradients(name: str, settings: dict[str, Any]) -> None:
    """Raise `NotDifferentiableError` if a setting requires a gradient: rules exist for positional arguments only, so it would be lost."""
    for key, value in settings.items():
        if isinstance(value, Tensor) and value.node is not None and is_grad_enabled():
            raise NotDifferentiableError(f"{name} has no derivative with respect to {key}; use .detach() on it")


def to_python_numbers(value: Any) -> Any:
    """Replace NumPy scalars by Python numbers, also in tuples, lists and slices, since rules check ``isinstance(axis, int)``."""
    if type(value) in PASS_THROUGH:
        return value
    if is_host_scalar(value):
        return value.item()
    if isinstance(value, tuple):
        return tuple([to_python_numbers(item) for item in value])
    if isinstance(value, list):
        return [to_python_numbers(item) for item in value]
    if isinstance(value, slice):
        return slice(to_python_numbers(value.start), to_python_numbers(value.stop), to_python_numbers(value.step))
    return value


def all_pass_through(settings: dict[str, Any]) -> bool:
    """Whether all settings are passed to a backend unchanged."""
    for value in settings.values():  # noqa: SIM110  # all() with a generator takes twice as long
        if type(value) not in PASS_THROUGH:
            return False
    return True
