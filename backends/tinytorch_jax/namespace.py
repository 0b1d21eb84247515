"""What JAX does in another way than the standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax.numpy as jnp


def _searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """`searchsorted` with indices of the default integer type, where JAX takes the narrowest that does."""
    return jnp.searchsorted(x1, x2, side=side, sorter=sorter).astype(jnp.asarray(0).dtype)


#: By the standard's names.
OWN: Final[dict[str, Callable[..., Any]]] = {"searchsorted": _searchsorted}
