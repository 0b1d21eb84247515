"""Softmax and its logarithms, which are not in the standard. ``axis`` is an axis, a tuple of axes, or ``None`` for all axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.approximation import check_real_floating
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.powers import exp
from tinytorch.array_api.precision import downcast, in_32_bits, upcast
from tinytorch.array_api.statistics import Axis, broadcast_reduced, normalize_axes, reduced_size, tie_weights
from tinytorch.autograd.operation import Saves, fused_operation, operation
from tinytorch.tensor import Tensor

__all__ = [
    "log_softmax",
    "logsumexp",
    "softmax",
]


@fused_operation
def _softmax(xp: Any, x: Any, *, axis: int) -> tuple[Tensor, Any]:
    """Softmax ``exp(x) / sum(exp(x))`` along ``axis``, computed without overflow.

    Args:
        x: logits of any shape.
        axis: the axis whose elements sum to 1.

    Returns:
        Probabilities, an array of the shape of ``x``.

    Example:
        >>> tt.ops.softmax(tt.asarray([1000.0, 1000.0]), axis=0)
        Tensor([0.5, 0.5], dtype=float32, device='numpy:cpu')
    """
    if 0 in x.shape:  # max of an empty array would raise
        return x, x
    wide = upcast(xp, x)
    exponentials = xp.exp(wide - xp.max(wide, axis=axis, keepdims=True))
    out = downcast(xp, exponentials / xp.sum(exponentials, axis=axis, keepdims=True), x)
    return out, out


_softmax.__name__ = "softmax"


@_softmax.joint_derivative
def _backward(xp: Any, g: Any, out: Any, inputs: Sequence[Any], needs: Sequence[bool], *, axis: int) -> list[Any]:
    wide, g_wide = upcast(xp, out), upcast(xp, g)
    return [downcast(xp, wide * (g_wide - xp.sum(g_wide * wide, axis=axis, keepdims=True)), out)]


def softmax(x: Tensor, /, *, axis: Axis = -1) -> Tensor:
    """Softmax ``exp(x) / sum(exp(x))`` over ``axis`` (default: the last axis), computed without overflow.

    Args:
        x: logits of any shape, real floating-point.
        axis: the axis, or the axes, whose elements sum to 1; ``None`` for all.

    Returns:
        Probabilities, of the shape of x.

    Raises:
        TypeError: x has integers, booleans or complex numbers.

    Example:
        >>> tt.softmax(tt.asarray([1000.0, 1000.0]))
        Tensor([0.5, 0.5], dtype=float32, device='numpy:cpu')
    """
    if isinstance(axis, int) and isinstance(x, Tensor) and x.dtype.kind == "real floating":
        return _softmax(x, axis=axis)
    return exp(log_softmax(x, axis=axis))


@operation(saves=Saves.OUTPUT)
def log_softmax(xp: Any, x: Tensor, /, *, axis: Axis = -1) -> Tensor:
    """The logarithm of `softmax` over ``axis`` (default: the last axis), accurate where the probability is small.

    Args:
        x: logits of any shape, real floating-point.
        axis: the axis, or the axes, whose probabilities sum to 1; ``None`` for all.

    Returns:
        Log-probabilities, of the shape of x.

    Raises:
        TypeError: x has integers, booleans or complex numbers.

    Example:
        >>> tt.log_softmax(tt.asarray([0.0, 1000.0]))
        Tensor([-1000.,     0.], dtype=float32, device='numpy:cpu')
    """
    check_real_floating(xp, "log_softmax", x)
    return x if 0 in x.shape else in_32_bits(xp, lambda x: _log_softmax(xp, x, axis), x)


def _log_softmax(xp: Any, x: Any, axis: Axis) -> Any:
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


def _log_softmax_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = -1) -> Any:
    wide = upcast(xp, g)
    return wide - xp.exp(upcast(xp, out)) * xp.sum(wide, axis=axis, keepdims=True)


log_softmax.derivatives(x=_log_softmax_rule)


@operation(saves=Saves.BOTH)
def logsumexp(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over ``axis`` (default: all axes), without overflow; ``-inf`` if there are no elements.

    Args:
        x: real floating-point, any shape.
        axis: the axis, or the axes, to reduce; ``None`` for all.
        keepdims: whether to keep the reduced axes with size 1.

    Raises:
        TypeError: x has integers, booleans or complex numbers.

    Example:
        >>> round(tt.logsumexp(tt.asarray([1000.0, 1000.0])).item(), 2)
        1000.69
    """
    check_real_floating(xp, "logsumexp", x)
    if reduced_size(x.shape, axis) == 0:
        return xp.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype) - math.inf
    return in_32_bits(xp, lambda x: _logsumexp(xp, x, axis, keepdims), x)


def _logsumexp(xp: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    top = xp.max(x, axis=axis, keepdims=True)
    infinite = xp.isinf(top)
    shift = xp.where(infinite, xp.zeros_like(top), top)
    total = xp.sum(xp.exp(xp.where(infinite, xp.zeros_like(x), x - shift)), axis=axis, keepdims=True)  # at least 1
    out = xp.where(infinite, top, xp.log(total) + shift)
    return out if keepdims else xp.squeeze(out, axis=normalize_axes(axis, len(x.shape)))


def _logsumexp_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The softmax; infinite elements that equal the result share the gradient, as in `logaddexp`."""
    out, g = [broadcast_reduced(xp, upcast(xp, part), x.shape, axis, keepdims) for part in (out, g)]
    wide = upcast(xp, x)
    infinite = xp.isinf(out)
    zeros = xp.zeros_like(out)
    shares = xp.exp(xp.where(infinite, zeros, wide) - xp.where(infinite, zeros, out))
    chosen = (wide == out) | ~infinite  # where nothing is infinite, all, so that no sum is 0
    shares = xp.where(infinite, tie_weights(xp, chosen, shares, axis), shares)
    return g * kinked(xp, shares, wide, infinite)


logsumexp.derivatives(x=_logsumexp_rule)
