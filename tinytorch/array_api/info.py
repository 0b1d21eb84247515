"""Inspection of a namespace: the standard's ``__array_namespace_info__``."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.data_types import isdtype
from tinytorch.backend import Backend, current_backend, get_backend
from tinytorch.backend.device import Device
from tinytorch.backend.dtypes import DTYPES, DType


class NamespaceInfo:
    """Capabilities, default dtypes and devices of a backend's namespace. A ``device`` argument selects another device."""

    def __init__(self, backend: Backend | None = None) -> None:
        self._backend = backend or current_backend()

    def capabilities(self) -> dict[str, bool | int | None]:
        """The optional features of the standard and whether they are supported."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """The device on which creation functions create Tensors."""
        return Device(self._backend)

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes that creation functions use by default."""
        integer = DTYPES[self._backend_for(device).default_int]
        return {
            "real floating": DTYPES["float32"],
            "complex floating": DTYPES["complex64"],
            "integral": integer,
            "indexing": integer,
        }

    def dtypes(self, *, device: Any = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The dtypes of the standard that the backend supports, by name."""
        extensions = ("float16", "bfloat16")
        supported = {n: d for n, d in DTYPES.items() if n in self._backend_for(device).capabilities.dtypes and n not in extensions}
        return {name: dtype for name, dtype in supported.items() if kind is None or isdtype(dtype, kind)}

    def devices(self) -> list[Device]:
        """The devices of this namespace."""
        return [Device(self._backend)]

    def _backend_for(self, device: Any) -> Backend:
        return self._backend if device is None else get_backend(device)
