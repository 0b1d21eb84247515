"""What JAX does in another way than the standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax.numpy as jnp


def _searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """`searchsorted` with indices of the default integer type, where JAX takes the narrowest that does."""
    return jnp.searchsorted(x1, x2, side=side, sorter=sorter).astype(jnp.asarray(0).dtype)


def _pow(x1: Any, x2: Any, /) -> Any:
    """`pow`, where JAX makes NaN of 0 to the power of a complex number."""
    out = jnp.pow(x1, x2)
    if not jnp.iscomplexobj(out):
        return out
    return jnp.where((jnp.asarray(x1) == 0) & (jnp.real(x2) > 0), 0, out)


def _add_rows(rows: Any, indices: Any, length: int) -> Any:
    """The sum of the (N, D) ``rows`` that belong to each of ``length`` indices: the derivative of taking rows."""
    return jnp.zeros_like(rows, shape=(length, rows.shape[1])).at[indices].add(rows)


#: By the standard's names, and one that tinytorch has for itself.
OWN: Final[dict[str, Callable[..., Any]]] = {"add_rows": _add_rows, "pow": _pow, "searchsorted": _searchsorted}
