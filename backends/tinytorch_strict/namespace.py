"""array-api-strict bound to one of its devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any, Final

import array_api_strict

STRICT_ARRAY: Final = type(array_api_strict.empty(()))  #: the array class, which array-api-strict does not export
_CREATION: Final = {"arange", "asarray", "empty", "eye", "fftfreq", "from_dlpack", "full", "linspace", "ones", "rfftfreq", "zeros"}


class StrictNamespace:
    """A module of array-api-strict whose creation functions default to ``device``.

    All other functions are the module's own: their results are on the device of their operands.
    """

    def __init__(self, module: ModuleType, device: Any) -> None:
        self._module = module
        self._device = device

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, ModuleType):
            return StrictNamespace(value, self._device)
        return self._bind(value) if name in _CREATION else value

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __repr__(self) -> str:
        return f"<{self._module.__name__} on {self._device}>"

    def _bind(self, create: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(create)
        def bound(*args: Any, device: Any = None, **options: Any) -> Any:
            # asarray keeps the device of an existing array: arrays never change devices implicitly
            if device is None and not (args and isinstance(args[0], STRICT_ARRAY)):
                device = self._device
            return create(*args, device=device, **options)

        return bound
