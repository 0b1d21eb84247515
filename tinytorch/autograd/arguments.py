"""An operation's arguments on their way from Tensors to a backend's arrays and back.

Positional arguments are Tensors, Python numbers, or structures such as an index that holds Tensors. Settings are passed by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import EllipsisType, NoneType
from typing import Any

from tinytorch.autograd.grad_mode import is_grad_enabled
from tinytorch.autograd.graph import Node
from tinytorch.backend import Backend, DType
from tinytorch.backend.device import Device
from tinytorch.backend.errors import refuse_foreign_array
from tinytorch.backend.host import is_host_scalar
from tinytorch.tensor import Tensor, check_same_backend, wrap

#: Types that a backend takes as they are.
PLAIN = frozenset({int, float, bool, complex, str, NoneType, EllipsisType})


class NotDifferentiableError(RuntimeError):
    """A derivative was asked for that does not exist or has no rule."""


class ShapeDtype:
    """Stands in a rule for an array of which only shape and dtype were saved."""

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
    """The `ShapeDtype` of an array, cached, as finding one is faster than making one; dtypes of two libraries must not be compared."""
    return ShapeDtype(shape, dtype)


def unwrap(name: str, backend: Backend, value: Any) -> Any:
    """An argument of the operation ``name`` as the backend's own functions take it: dtypes translated, Tensors replaced by arrays.

    Raises ``BackendMismatchError`` for a Tensor or an array that does not belong to ``backend``.
    """
    if type(value) in PLAIN:
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
        raise TypeError(f"{name}: moving between devices is spelled x.to(device)")
    if is_host_scalar(value):
        return value.item()
    if type(value) is not slice:
        refuse_foreign_array(name, value, backend.spec)
    return value


def unwrap_settings(name: str, backend: Backend, settings: dict[str, Any]) -> dict[str, Any]:
    """`unwrap` for arguments that were passed by name."""
    if are_plain(settings):
        return settings
    return {key: unwrap(name, backend, value) for key, value in settings.items()}


def types_of(args: Sequence[Any]) -> list[Any]:
    """The type of each argument; for a tuple or a list, such as an index, a tuple of the types of its items."""
    return [tuple(map(type, arg)) if type(arg) is tuple or type(arg) is list else type(arg) for arg in args]


def rewrap(backend: Backend, value: Any, kind: Any, node: Node | None) -> Any:
    """The reverse of `unwrap` for a saved input, given its type from `types_of`: a Tensor with its node, where it was a Tensor."""
    if isinstance(value, ShapeDtype):
        return ShapeDtype(value.shape, backend._dtypes[value.dtype])
    if isinstance(kind, tuple):
        return type(value)([rewrap(backend, item, each, None) for item, each in zip(value, kind, strict=True)])
    return wrap(value, backend, node) if issubclass(kind, Tensor) else value


def refuse_gradients(name: str, settings: dict[str, Any]) -> None:
    """Raise `NotDifferentiableError` for a setting that carries a gradient: rules are for positional arguments, so it would be lost."""
    for key, value in settings.items():
        if isinstance(value, Tensor) and value.node is not None and is_grad_enabled():
            raise NotDifferentiableError(f"{name} has no derivative with respect to {key}; use .detach() on it")


def plain(value: Any) -> Any:
    """A setting with Python's numbers in place of numpy's, in tuples, lists and slices too: rules ask whether an axis is an ``int``."""
    if type(value) in PLAIN:
        return value
    if is_host_scalar(value):
        return value.item()
    if isinstance(value, tuple):
        return tuple([plain(item) for item in value])
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


def are_plain(settings: dict[str, Any]) -> bool:
    """Whether a backend takes all settings as they are."""
    for value in settings.values():  # noqa: SIM110  # a generator in all() would take twice the time
        if type(value) not in PLAIN:
            return False
    return True
