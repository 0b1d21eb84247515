"""Reductions. ``axis`` is an axis, a tuple of axes, or ``None`` for all axes."""

from __future__ import annotations

import math
from typing import Any

from tinytorch.array_api.complex_numbers import conjugate, is_complex
from tinytorch.array_api.cumulative import exclusive_cumprod
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.precision import in_32_bits, upcast
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "all",
    "any",
    "count_nonzero",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]

Axis = int | tuple[int, ...] | None


def normalize_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """``axis`` as a sorted tuple of nonnegative axes."""
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(a % ndim for a in axes))


def broadcast_reduced(xp: Any, reduced: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """The result of a reduction, broadcast back to the shape of its input."""
    if not keepdims and shape:
        axes = normalize_axes(axis, len(shape))
        reduced = xp.reshape(reduced, tuple(1 if i in axes else n for i, n in enumerate(shape)))
    return xp.broadcast_to(reduced, shape)


def reduced_size(shape: tuple[int, ...], axis: Axis) -> int:
    """Number of input elements per output element."""
    return math.prod(shape[a] for a in normalize_axes(axis, len(shape))) if shape else 1


@operation(saves=Saves.NOTHING)
def sum(xp: Any, x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over ``axis`` (default: all axes). Booleans and narrow integer dtypes are summed in the default integer dtype.

    Example:
        >>> tt.sum(tt.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        Tensor([4., 6.], dtype=float32, device='numpy:cpu')
    """
    if x.dtype == xp.bool:  # the standard's sum has none
        x = xp.astype(x, xp.int8)
    return xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


sum.derivatives(x=lambda xp, g, out, x, axis=None, dtype=None, keepdims=False: broadcast_reduced(xp, g, x.shape, axis, keepdims))


@operation(saves=Saves.NOTHING)
def mean(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over ``axis`` (default: all axes).

    Example:
        >>> tt.mean(tt.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        Tensor([2., 3.], dtype=float32, device='numpy:cpu')
    """
    return xp.mean(x, axis=axis, keepdims=keepdims)


def _mean_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    scaled = upcast(xp, g) / (reduced_size(x.shape, axis) or 1)  # in 32 bits: the count may exceed 65504
    return broadcast_reduced(xp, scaled, x.shape, axis, keepdims)


mean.derivatives(x=_mean_rule)


@operation
def var(xp: Any, x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance over ``axis`` (default: all axes).

    The sum of squared deviations is divided by the number of elements minus ``correction``. If that is 0 or less, the result is NaN.

    Example:
        >>> tt.var(tt.asarray([1.0, 3.0])), tt.var(tt.asarray([1.0, 3.0]), correction=1)
        (Tensor(1., dtype=float32, device='numpy:cpu'), Tensor(2., dtype=float32, device='numpy:cpu'))
    """
    if reduced_size(x.shape, axis) <= correction:  # numpy would divide by 0
        return _nan(xp, x, axis, keepdims)
    return in_32_bits(xp, lambda x: xp.var(x, axis=axis, correction=correction, keepdims=keepdims), x)


def _nan(xp: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """NaN in the shape and real dtype of a reduction of x."""
    total = xp.sum(x, axis=axis, keepdims=keepdims) * math.nan
    return xp.real(total) if is_complex(xp, total) else total


def _var_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    if 0 in x.shape:
        return xp.zeros_like(x)
    degrees = reduced_size(x.shape, axis) - correction
    wide = upcast(xp, x)
    deviation = wide - xp.mean(wide, axis=axis, keepdims=True)
    return broadcast_reduced(xp, g, x.shape, axis, keepdims) * conjugate(xp, deviation) * (2 / degrees if degrees > 0 else math.nan)


var.derivatives(x=_var_rule)


@operation(saves=Saves.BOTH)
def std(xp: Any, x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation over ``axis``: the square root of `var`. The derivative is defined as 0 where all elements are equal.

    Example:
        >>> tt.std(tt.asarray([1.0, 3.0]))
        Tensor(1., dtype=float32, device='numpy:cpu')
    """
    if reduced_size(x.shape, axis) <= correction:
        return _nan(xp, x, axis, keepdims)
    return in_32_bits(xp, lambda x: xp.std(x, axis=axis, correction=correction, keepdims=keepdims), x)


def _std_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, **static: Any) -> Any:
    zero = out == 0
    half = 0.5 / xp.where(zero, xp.ones_like(out), out)
    if reduced_size(x.shape, axis) > 1:  # the deviation of a single element is always 0
        half = kinked(xp, half, out, zero)
    return _var_rule(xp, g * half, out, x, axis, **static)


std.derivatives(x=_std_rule)


def _extremum_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The elements that are equal to the extremum get equal shares of the gradient."""
    selected = x == broadcast_reduced(xp, out, x.shape, axis, keepdims)
    g = broadcast_reduced(xp, g, x.shape, axis, keepdims)
    return xp.where(selected, g, xp.zeros_like(g)) * tie_weights(xp, selected, g, axis)  # 0 elsewhere even if g is infinite


def tie_weights(xp: Any, chosen: Any, like: Any, axis: Axis) -> Any:
    """1 / (number of ``chosen`` elements along ``axis``) at each chosen element, 0 elsewhere.

    The dtype has at least 32 bits, so that the count is exact.
    """
    ones = upcast(xp, xp.astype(chosen, like.dtype))
    return ones / xp.sum(ones, axis=axis, keepdims=True)


@operation(saves=Saves.BOTH)
def max(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Maximum over ``axis`` (default: all axes). Equal maxima share the gradient equally, as in JAX.

    Example:
        >>> tt.max(tt.asarray([[1.0, 2.0], [3.0, 0.0]]), axis=1)
        Tensor([2., 3.], dtype=float32, device='numpy:cpu')
    """
    return xp.max(x, axis=axis, keepdims=keepdims)


max.derivatives(x=_extremum_rule)


@operation(saves=Saves.BOTH)
def min(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Minimum over ``axis`` (default: all axes). Equal minima share the gradient equally, as in JAX.

    Example:
        >>> tt.min(tt.asarray([[1.0, 2.0], [3.0, 0.0]]), axis=1)
        Tensor([1., 0.], dtype=float32, device='numpy:cpu')
    """
    return xp.min(x, axis=axis, keepdims=keepdims)


min.derivatives(x=_extremum_rule)


@operation
def prod(xp: Any, x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Product over ``axis`` (default: all axes). Narrow integer dtypes are multiplied in the default integer dtype.

    Example:
        >>> tt.prod(tt.asarray([2.0, 3.0, 4.0]))
        Tensor(24., dtype=float32, device='numpy:cpu')
    """
    if dtype is not None:
        return xp.prod(x, axis=axis, dtype=dtype, keepdims=keepdims)
    return in_32_bits(xp, lambda x: xp.prod(x, axis=axis, keepdims=keepdims), x)


def _prod_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The derivative with respect to an element is the product of all others. It is not ``out / x``, which would fail at 0."""
    axes = normalize_axes(axis, x.ndim)
    last = tuple(range(x.ndim - len(axes), x.ndim))
    reordered = xp.moveaxis(upcast(xp, xp.astype(x, g.dtype)), axes, last)
    row = xp.reshape(reordered, (*reordered.shape[: x.ndim - len(axes)], reduced_size(x.shape, axis)))
    after = xp.flip(exclusive_cumprod(xp, xp.flip(row, axis=-1)), axis=-1)
    others = xp.moveaxis(xp.reshape(exclusive_cumprod(xp, row) * after, reordered.shape), last, axes)
    return broadcast_reduced(xp, g, x.shape, axis, keepdims) * others


prod.derivatives(x=_prod_rule)


@operation
def all(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are nonzero, over ``axis`` (default: all axes).

    Example:
        >>> tt.all(tt.asarray([[True, False], [True, True]]), axis=1)
        Tensor([False,  True], dtype=bool, device='numpy:cpu')
    """
    return xp.all(x, axis=axis, keepdims=keepdims)


all.piecewise_constant()


@operation
def any(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether any element is nonzero, over ``axis`` (default: all axes).

    Example:
        >>> tt.any(tt.asarray([[True, False], [False, False]]), axis=1)
        Tensor([ True, False], dtype=bool, device='numpy:cpu')
    """
    return xp.any(x, axis=axis, keepdims=keepdims)


any.piecewise_constant()


@operation
def count_nonzero(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Number of nonzero elements, over ``axis`` (default: all axes).

    Example:
        >>> tt.count_nonzero(tt.asarray([0, 2, 3]))
        Tensor(2, dtype=int64, device='numpy:cpu')
    """
    return xp.count_nonzero(x, axis=axis, keepdims=keepdims)


count_nonzero.piecewise_constant()
