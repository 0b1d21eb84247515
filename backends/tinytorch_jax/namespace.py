"""Functions that JAX implements differently from the standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp


def _searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """`searchsorted` with indices of the default integer dtype; JAX returns the narrowest possible one."""
    return jnp.searchsorted(x1, x2, side=side, sorter=sorter).astype(jnp.asarray(0).dtype)


def _pow(x1: Any, x2: Any, /) -> Any:
    """`pow`; JAX returns NaN for 0 to a complex power."""
    out = jnp.pow(x1, x2)
    if not jnp.iscomplexobj(out):
        return out
    return jnp.where((jnp.asarray(x1) == 0) & (jnp.real(x2) > 0), 0, out)


def _getitem(x: Any, key: Any) -> Any:
    """``x[key]``; while a step is compiled, out-of-bounds indices give NaN, where JAX would clamp the index.

    For other dtypes the value is that of ``jnp.take(mode="fill")``: the smallest signed integer, the largest unsigned integer, or true.
    """
    parts = key if isinstance(key, tuple) else (key,)
    return x.at[key].get(mode="fill") if any(isinstance(part, jax.core.Tracer) for part in parts) else x[key]


def _sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """`sum`, accumulating 16-bit floats in float32; JAX does not if ``dtype`` is the array's own dtype."""
    requested = None if dtype is not None and dtype == x.dtype and jnp.issubdtype(dtype, jnp.floating) else dtype
    return jnp.sum(x, axis=axis, dtype=requested, keepdims=keepdims)


def _add_rows(rows: Any, indices: Any, length: int) -> Any:
    """Scatter-add: sum the (N, D) ``rows`` by index into (length, D). It is the gradient of a gather of rows."""
    targets = jnp.where(indices < 0, length, indices)  # mode="drop" skips only indices past the end
    return jnp.zeros_like(rows, shape=(length, rows.shape[1])).at[targets].add(rows, mode="drop")


#: By the standard's names, and tinytorch's own `add_rows` and `getitem`.
OVERRIDES: Final[dict[str, Callable[..., Any]]] = {
    "add_rows": _add_rows,
    "getitem": _getitem,
    "pow": _pow,
    "searchsorted": _searchsorted,
    "sum": _sum,
}
