"""The namespace bound to one backend and device, as ``Tensor.__array_namespace__()`` returns it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from types import ModuleType, SimpleNamespace
from typing import Any

from tinytorch.array_api import fft
from tinytorch.array_api.creation import CREATORS, asarray
from tinytorch.array_api.info import NamespaceInfo
from tinytorch.backend import Backend
from tinytorch.backend.device import Device
from tinytorch.tensor import Tensor


class BoundNamespace:
    """The functions of `tinytorch.array_api`, with creation functions that create Tensors on one device.

    Array code calls ``xp.zeros(...)`` on the namespace of a Tensor. The result must be on the device of that Tensor, even if
    another backend is the current one.
    """

    def __init__(self, backend: Backend, functions: ModuleType) -> None:
        self.__name__ = f"tinytorch[{backend.spec}]"
        device = Device(backend)
        members = {name: getattr(functions, name) for name in functions.__all__}
        members |= _bound(CREATORS, device)
        members["asarray"] = partial(_asarray, device)
        members["__array_namespace_info__"] = partial(NamespaceInfo, backend)
        if hasattr(backend.xp, "fft"):
            transforms = {name: getattr(fft, name) for name in fft.__all__}
            members["fft"] = SimpleNamespace(**transforms | _bound(fft.CREATORS, device))
        else:  # an optional extension of the standard
            del members["fft"]
        self.__dict__.update(members)

    def __repr__(self) -> str:
        return f"<namespace {self.__name__}>"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.__name__} has no {name!r}")


def _bound(creators: Iterable[Callable[..., Tensor]], default: Device) -> dict[str, Any]:
    """Creation functions, by name, whose ``device`` defaults to the given one."""

    def bind(creator: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @wraps(creator)
        def bound(*args: Any, device: Any = None, **options: Any) -> Tensor:
            return creator(*args, device=default if device is None else device, **options)

        return bound

    return {creator.__name__: bind(creator) for creator in creators}


def _asarray(default: Device, obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """`asarray` of a bound namespace. A Tensor stays on its device unless ``device`` is given: nothing is transferred implicitly."""
    if device is None and not isinstance(obj, Tensor):
        device = default
    return asarray(obj, dtype=dtype, device=device, copy=copy)
