"""Cumulative sums and products."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.precision import in_32_bits, upcast
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "cumulative_prod",
    "cumulative_sum",
]


@operation(saves=Saves.NOTHING)
def cumulative_sum(xp: Any, x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Cumulative sum along ``axis``, starting with 0 if ``include_initial`` is true.

    Example:
        >>> tt.cumulative_sum(tt.asarray([1.0, 2.0, 3.0]))
        Tensor([1., 3., 6.], dtype=float32, device='numpy:cpu')
    """
    return xp.cumulative_sum(x, axis=axis, dtype=dtype, include_initial=include_initial)


def _cumulative_sum_rule(
    xp: Any, g: Any, out: Any, x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    axis = 0 if axis is None else axis  # may be None for 1-d arrays only
    reversed_sum = xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis)
    if include_initial:  # the initial 0 is constant
        reversed_sum = reversed_sum[tuple(slice(1, None) if i == axis % len(x.shape) else slice(None) for i in range(len(x.shape)))]
    return reversed_sum


cumulative_sum.derivatives(x=_cumulative_sum_rule)


def exclusive_cumprod(xp: Any, row: Any) -> Any:
    """The product of all elements before each element, along the last axis."""
    return xp.cumulative_prod(row, axis=-1, include_initial=True)[..., :-1]


@operation
def cumulative_prod(xp: Any, x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Cumulative product along ``axis``, starting with 1 if ``include_initial`` is true.

    Example:
        >>> tt.cumulative_prod(tt.asarray([1.0, 2.0, 3.0]), include_initial=True)
        Tensor([1., 1., 2., 6.], dtype=float32, device='numpy:cpu')
    """
    if dtype is not None:
        return xp.cumulative_prod(x, axis=axis, dtype=dtype, include_initial=include_initial)
    return in_32_bits(xp, lambda x: xp.cumulative_prod(x, axis=axis, include_initial=include_initial), x)


def _cumulative_prod_rule(
    xp: Any, g: Any, out: Any, x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    axis = 0 if axis is None else axis
    g, row = xp.moveaxis(upcast(xp, g), axis, -1), xp.moveaxis(upcast(xp, xp.astype(x, g.dtype)), axis, -1)
    if include_initial:
        g = g[..., 1:]
    # the gradient of x[i] is (the product of all elements before x[i]) * s[i], with s[i] = g[i] + x[i + 1] s[i + 1]; no division, for zeros
    return xp.moveaxis(exclusive_cumprod(xp, row) * _reverse_recurrence(xp, _shift_left(xp, row, 1), g), -1, axis)


def _shift_left(xp: Any, row: Any, by: int) -> Any:
    """Elements moved ``by`` positions toward the start of the last axis, padded with zeros at the end."""
    by = by if by < row.shape[-1] else row.shape[-1]
    return xp.concat([row[..., by:], xp.zeros_like(row[..., :by])], axis=-1)


def _reverse_recurrence(xp: Any, a: Any, b: Any) -> Any:
    """The solution of ``s[i] = b[i] + a[i] * s[i + 1]`` along the last axis, by a parallel scan (as ``jax.lax.associative_scan``).

    Blelloch 1990, *Prefix Sums*, section 1.4.
    """
    offset = 1
    while offset < b.shape[-1]:
        b = b + a * _shift_left(xp, b, offset)
        a = a * _shift_left(xp, a, offset)
        offset *= 2
    return b


cumulative_prod.derivatives(x=_cumulative_prod_rule)
