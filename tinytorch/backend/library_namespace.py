"""For plugins: the namespace of an array library, bound to one of its devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, Final

_CREATION: Final = frozenset({"arange", "asarray", "empty", "eye", "fftfreq", "full", "linspace", "ones", "rfftfreq", "zeros"})


class LibraryNamespace:
    """The functions of a module; some are replaced by the plugin, and creation functions create arrays on ``device``.

    Args:
        module: the namespace of the array library; its submodules (``linalg``, ``fft``) are bound in the same way.
        device: passed as ``device=`` to creation functions; ``None`` passes nothing, so that the library uses its default device.
        own: functions by name that replace those of the module, or optional ones that tinytorch calls if they exist (``add_rows``).
    """

    def __init__(self, module: ModuleType, device: Any, own: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> None:
        self._module = module
        self._device = device
        self._own = own

    def __getattr__(self, name: str) -> Any:
        value: Any = self._own.get(name) or getattr(self._module, name)
        if isinstance(value, ModuleType):
            value = LibraryNamespace(value, self._device)
        elif self._device is not None and name in _CREATION:
            value = partial(value, device=self._device)
        setattr(self, name, value)  # later lookups find an ordinary attribute
        return value

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __repr__(self) -> str:
        return f"<{self._module.__name__} on {self._device or 'its default device'}>"
