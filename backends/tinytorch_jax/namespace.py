"""JAX's functions as the standard has them, on one device."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, Final

import jax.numpy as jnp

_CREATION: Final = {"arange", "asarray", "empty", "eye", "fftfreq", "from_dlpack", "full", "linspace", "ones", "rfftfreq", "zeros"}


class JaxNamespace:
    """``jax.numpy`` with creation functions that make arrays on ``device``; on JAX's default device where that is ``None``."""

    def __init__(self, module: ModuleType, device: Any) -> None:
        self._module = module
        self._device = device

    def __getattr__(self, name: str) -> Any:
        value: Any = _OWN.get(name) or getattr(self._module, name)
        if isinstance(value, ModuleType):
            value = JaxNamespace(value, self._device)
        elif self._device is not None and name in _CREATION:
            value = partial(value, device=self._device)
        setattr(self, name, value)  # from now on an ordinary attribute
        return value

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __repr__(self) -> str:
        return f"<{self._module.__name__}>"


def _searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """`searchsorted` with indices of the default integer type, where JAX takes the narrowest that does."""
    return jnp.searchsorted(x1, x2, side=side, sorter=sorter).astype(jnp.asarray(0).dtype)


_OWN: Final[dict[str, Any]] = {"searchsorted": _searchsorted}
