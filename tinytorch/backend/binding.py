"""For plugins: an array library's functions on one of its devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, Final

_CREATION: Final = frozenset({"arange", "asarray", "empty", "eye", "fftfreq", "full", "linspace", "ones", "rfftfreq", "zeros"})


class LibraryNamespace:
    """A module's functions, with the plugin's own in place of some, and creation functions that make arrays on ``device``.

    Args:
        module: the array library's namespace; modules inside it (``linalg``, ``fft``) are bound in the same way.
        device: what the library's ``device=`` takes; ``None`` for its default, which then is not passed.
        own: functions by name that take the place of the module's, or that tinytorch uses where it finds them (``add_rows``).
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
        setattr(self, name, value)  # from now on an ordinary attribute
        return value

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __repr__(self) -> str:
        return f"<{self._module.__name__} on {self._device or 'its default device'}>"
