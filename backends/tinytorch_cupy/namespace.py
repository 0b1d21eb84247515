"""cupy's namespace on one of several GPUs.

cupy runs everything, operators too, on the thread's *current* GPU, and most of its creation functions ignore ``device=``. With one GPU that
is always the right one and nothing of this file is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any


class DeviceNamespace:
    """A module of cupy's functions that first make ``device`` the thread's current GPU, and leave it so.

    It is left so because the operators of the arrays that come out (``a + b``) run on the current GPU as well, and cannot be wrapped.
    """

    def __init__(self, module: ModuleType, device: Any) -> None:
        self._module = module
        self._device = device

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if isinstance(value, ModuleType):
            value = DeviceNamespace(value, self._device)
        elif callable(value) and not isinstance(value, type):  # data types are classes, and belong to no GPU
            value = self._bind(value)
        setattr(self, name, value)  # from now on an ordinary attribute
        return value

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __repr__(self) -> str:
        return f"<{self._module.__name__} on {self._device}>"

    def _bind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        make_current = self._device.use

        @wraps(function)
        def bound(*args: Any, **options: Any) -> Any:
            make_current()
            return function(*args, **options)

        return bound
