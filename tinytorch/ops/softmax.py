"""Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def softmax(xp: Any, x: Any, *, axis: int) -> tuple[Tensor, Any]:
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


@softmax.joint_derivative
def _backward(xp: Any, g: Any, out: Any, inputs: Sequence[Any], needs: Sequence[bool], *, axis: int) -> list[Any]:
    wide, g_wide = upcast(xp, out), upcast(xp, g)
    return [downcast(xp, wide * (g_wide - xp.sum(g_wide * wide, axis=axis, keepdims=True)), out)]
