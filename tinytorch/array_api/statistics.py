"""Reductions. ``axis`` is a dimension, several of them, or ``None`` for all."""

from __future__ import annotations

import math
from typing import Any

from tinytorch.array_api.arithmetic import conjugate, is_complex
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.precision import in_32_bits, upcast
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "all",
    "any",
    "count_nonzero",
    "cumulative_prod",
    "cumulative_sum",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]

Axis = int | tuple[int, ...] | None


def reduced_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """``axis`` as a sorted tuple of numbers from 0 to ndim - 1."""
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(a % ndim for a in axes))


def spread(xp: Any, reduced: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """A reduction's result, broadcast back over the dimensions that were reduced."""
    if not keepdims and shape:
        axes = reduced_axes(axis, len(shape))
        reduced = xp.reshape(reduced, tuple(1 if i in axes else n for i, n in enumerate(shape)))
    return xp.broadcast_to(reduced, shape)


def reduced_size(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements go into each result."""
    return math.prod(shape[a] for a in reduced_axes(axis, len(shape))) if shape else 1


@operation(saves=Saves.NOTHING)
def sum(xp: Any, x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum of the elements. Small integer types are summed in the default integer type."""
    return xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


sum.derivatives(x=lambda xp, g, out, x, axis=None, dtype=None, keepdims=False: spread(xp, g, x.shape, axis, keepdims))


@operation(saves=Saves.NOTHING)
def mean(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean."""
    return xp.mean(x, axis=axis, keepdims=keepdims)


def _mean_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    share = upcast(xp, g) / (reduced_size(x.shape, axis) or 1)  # in 32 bits, as float16 ends at 65504
    return spread(xp, share, x.shape, axis, keepdims)


mean.derivatives(x=_mean_rule)


@operation
def var(xp: Any, x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance; the sum of squared deviations is divided by the number of elements less ``correction``, NaN where that is not positive."""
    if reduced_size(x.shape, axis) <= correction:  # where numpy would divide by 0
        return _nan(xp, x, axis, keepdims)
    return in_32_bits(xp, lambda x: xp.var(x, axis=axis, correction=correction, keepdims=keepdims), x)


def _nan(xp: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """NaN in the shape of a reduction of x, and in its real type."""
    total = xp.sum(x, axis=axis, keepdims=keepdims) * math.nan
    return xp.real(total) if is_complex(xp, total) else total


def _var_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    if 0 in x.shape:
        return xp.zeros_like(x)
    degrees = reduced_size(x.shape, axis) - correction
    wide = upcast(xp, x)
    deviation = wide - xp.mean(wide, axis=axis, keepdims=True)
    return spread(xp, g, x.shape, axis, keepdims) * conjugate(xp, deviation) * (2 / degrees if degrees > 0 else math.nan)


var.derivatives(x=_var_rule)


@operation(saves=Saves.BOTH)
def std(xp: Any, x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation, the square root of `var`; where all elements are equal, its derivative is taken as 0."""
    if reduced_size(x.shape, axis) <= correction:
        return _nan(xp, x, axis, keepdims)
    return in_32_bits(xp, lambda x: xp.std(x, axis=axis, correction=correction, keepdims=keepdims), x)


def _std_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, **static: Any) -> Any:
    zero = out == 0
    half = 0.5 / xp.where(zero, xp.ones_like(out), out)
    if reduced_size(x.shape, axis) > 1:  # that of one element is always 0
        half = kinked(xp, half, out, zero)
    return _var_rule(xp, g * half, out, x, axis, **static)


std.derivatives(x=_std_rule)


def _extremum_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The elements that attain the extremum share the gradient."""
    attained = x == spread(xp, out, x.shape, axis, keepdims)
    g = spread(xp, g, x.shape, axis, keepdims)
    return xp.where(attained, g, xp.zeros_like(g)) * shares(xp, attained, g, axis)  # the others get nothing of an infinite g either


def shares(xp: Any, chosen: Any, like: Any, axis: Axis) -> Any:
    """1 over how many elements are ``chosen`` along ``axis``, at each of them, and 0 elsewhere; of at least 32 bits, to count in."""
    ones = upcast(xp, xp.astype(chosen, like.dtype))
    return ones / xp.sum(ones, axis=axis, keepdims=True)


@operation(saves=Saves.BOTH)
def max(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest element; elements that tie share the gradient."""
    return xp.max(x, axis=axis, keepdims=keepdims)


max.derivatives(x=_extremum_rule)


@operation(saves=Saves.BOTH)
def min(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest element; elements that tie share the gradient."""
    return xp.min(x, axis=axis, keepdims=keepdims)


min.derivatives(x=_extremum_rule)


@operation(saves=Saves.NOTHING)
def cumulative_sum(xp: Any, x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Running sum along ``axis``, with a 0 before it where ``include_initial``."""
    return xp.cumulative_sum(x, axis=axis, dtype=dtype, include_initial=include_initial)


def _cumulative_sum_rule(
    xp: Any, g: Any, out: Any, x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    axis = 0 if axis is None else axis  # may be left out for one dimension only
    backwards = xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis)
    if include_initial:  # the 0 in front depends on nothing
        backwards = backwards[tuple(slice(1, None) if i == axis % len(x.shape) else slice(None) for i in range(len(x.shape)))]
    return backwards


cumulative_sum.derivatives(x=_cumulative_sum_rule)


@operation
def prod(xp: Any, x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Product of the elements. Small integer types are multiplied in the default integer type."""
    if dtype is not None:
        return xp.prod(x, axis=axis, dtype=dtype, keepdims=keepdims)
    return in_32_bits(xp, lambda x: xp.prod(x, axis=axis, keepdims=keepdims), x)


def _prod_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """Each element's factor is the product of the others: of those before it and of those after, as a division would fail at 0."""
    axes = reduced_axes(axis, x.ndim)
    last = tuple(range(x.ndim - len(axes), x.ndim))
    moved = xp.moveaxis(upcast(xp, xp.astype(x, g.dtype)), axes, last)
    row = xp.reshape(moved, (*moved.shape[: x.ndim - len(axes)], reduced_size(x.shape, axis)))
    after = xp.flip(_products_before(xp, xp.flip(row, axis=-1)), axis=-1)
    others = xp.moveaxis(xp.reshape(_products_before(xp, row) * after, moved.shape), last, axes)
    return spread(xp, g, x.shape, axis, keepdims) * others


def _products_before(xp: Any, row: Any) -> Any:
    """The product of all elements before each, along the last dimension."""
    return xp.cumulative_prod(row, axis=-1, include_initial=True)[..., :-1]


prod.derivatives(x=_prod_rule)


@operation
def cumulative_prod(xp: Any, x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Running product along ``axis``, with a 1 before it where ``include_initial``."""
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
    # s[i] = g[i] + x[i + 1] s[i + 1] gathers, without a division, what multiplies the product before x[i]
    return xp.moveaxis(_products_before(xp, row) * _recurrence(xp, _shifted(xp, row, 1), g), -1, axis)


def _shifted(xp: Any, row: Any, by: int) -> Any:
    """Elements moved ``by`` places towards the front of the last dimension, zeros behind them."""
    by = by if by < row.shape[-1] else row.shape[-1]
    return xp.concat([row[..., by:], xp.zeros_like(row[..., :by])], axis=-1)


def _recurrence(xp: Any, a: Any, b: Any) -> Any:
    """s with ``s[i] = b[i] + a[i] s[i + 1]`` along the last dimension, by doubling (Blelloch 1990, *Prefix Sums*, section 1.4)."""
    reach = 1
    while reach < b.shape[-1]:
        b = b + a * _shifted(xp, b, reach)
        a = a * _shifted(xp, a, reach)
        reach *= 2
    return b


cumulative_prod.derivatives(x=_cumulative_prod_rule)


@operation
def all(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are true (not zero)."""
    return xp.all(x, axis=axis, keepdims=keepdims)


all.piecewise_constant()


@operation
def any(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether some element is true (not zero)."""
    return xp.any(x, axis=axis, keepdims=keepdims)


any.piecewise_constant()


@operation
def count_nonzero(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero."""
    return xp.count_nonzero(x, axis=axis, keepdims=keepdims)


count_nonzero.piecewise_constant()
