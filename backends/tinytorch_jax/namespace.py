"""What JAX does in another way than the standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
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


def _getitem(x: Any, key: Any) -> Any:
    """``x[key]``; while a step is compiled, with NaN for indices that are out of bounds, where JAX reads the nearest element.

    JAX fills integers with the smallest number of their type, unsigned ones with the largest, and booleans with true, as in `take`.
    """
    parts = key if isinstance(key, tuple) else (key,)
    return x.at[key].get(mode="fill") if any(isinstance(part, jax.core.Tracer) for part in parts) else x[key]


def _sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """`sum`, where JAX accumulates 16-bit numbers in 32 bits unless their own type is asked for."""
    asked = None if dtype is not None and dtype == x.dtype and jnp.issubdtype(dtype, jnp.floating) else dtype
    return jnp.sum(x, axis=axis, dtype=asked, keepdims=keepdims)


def _add_rows(rows: Any, indices: Any, length: int) -> Any:
    """The sum of the (N, D) ``rows`` that belong to each of ``length`` indices: the derivative of taking rows."""
    places = jnp.where(indices < 0, length, indices)  # out of bounds, so that they are dropped; JAX would count from the end
    return jnp.zeros_like(rows, shape=(length, rows.shape[1])).at[places].add(rows, mode="drop")


#: By the standard's names, and two that tinytorch has for itself.
OVERRIDES: Final[dict[str, Callable[..., Any]]] = {
    "add_rows": _add_rows,
    "getitem": _getitem,
    "pow": _pow,
    "searchsorted": _searchsorted,
    "sum": _sum,
}
