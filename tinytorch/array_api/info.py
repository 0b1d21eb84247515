"""What a namespace can tell about itself: the standard's ``__array_namespace_info__``."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.data_types import isdtype
from tinytorch.backend import Backend, current_backend, get_backend
from tinytorch.backend.device import Device
from tinytorch.backend.dtypes import DTYPES, DType


class NamespaceInfo:
    """Capabilities, default types and devices of a backend's namespace; of another device where a function is told one."""

    def __init__(self, backend: Backend | None = None) -> None:
        self._backend = backend or current_backend()

    def capabilities(self) -> dict[str, bool | int | None]:
        """Which optional behaviour there is."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Where creation functions put Tensors."""
        return Device(self._backend)

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The types that creation functions choose."""
        integer = DTYPES[self._on(device).default_int]
        return {
            "real floating": DTYPES["float32"],
            "complex floating": DTYPES["complex64"],
            "integral": integer,
            "indexing": integer,
        }

    def dtypes(self, *, device: Any = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The types of the standard that the backend has, by name."""
        extensions = ("float16", "bfloat16")
        have = {n: d for n, d in DTYPES.items() if n in self._on(device).capabilities.dtypes and n not in extensions}
        return {name: dtype for name, dtype in have.items() if kind is None or isdtype(dtype, kind)}

    def devices(self) -> list[Device]:
        """The devices that Tensors of this namespace can be on."""
        return [Device(self._backend)]

    def _on(self, device: Any) -> Backend:
        return self._backend if device is None else get_backend(device)
