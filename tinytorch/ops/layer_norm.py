"""Layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450, equations 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def layer_norm(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Tensor, Any]:
    """Normalize ``x`` to mean 0 and variance 1 over its last axis, then scale and shift it.

    Args:
        x: (..., D).
        weight: scale, (D), or ``None``.
        bias: shift, (D), or ``None``.
        eps: added to the variance.

    Returns:
        An array of the shape of ``x``.

    Example:
        >>> tt.ops.layer_norm(tt.asarray([1.0, 3.0]), tt.ones(2), tt.zeros(2), eps=0.0)
        Tensor([-1.,  1.], dtype=float32, device='numpy:cpu')
    """
    wide = upcast(xp, x)
    mean = xp.mean(wide, axis=-1, keepdims=True)
    centered = wide - mean
    rstd = 1.0 / xp.sqrt(xp.mean(centered * centered, axis=-1, keepdims=True) + eps)
    out = centered * rstd
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return downcast(xp, out, x), (mean, rstd)


@layer_norm.joint_derivative
def _backward(xp: Any, g: Any, residuals: Any, inputs: Sequence[Any], needs: Sequence[bool], *, eps: float) -> list[Any]:
    x, weight, bias = inputs
    mean, rstd = residuals
    g_wide = upcast(xp, g)
    normalized = (upcast(xp, x) - mean) * rstd
    g_x = None
    if needs[0]:
        # subtract the components along the mean and along x: the output does not depend on changes in these two directions
        scaled = g_wide if weight is None else g_wide * weight
        along_mean = xp.mean(scaled, axis=-1, keepdims=True)
        along_x = xp.mean(scaled * normalized, axis=-1, keepdims=True)
        g_x = downcast(xp, (scaled - along_mean - normalized * along_x) * rstd, x)
    rows = tuple(range(len(x.shape) - 1))
    return [
        g_x,
        downcast(xp, xp.sum(g_wide * normalized, axis=rows), weight) if needs[1] else None,
        downcast(xp, xp.sum(g_wide, axis=rows), bias) if needs[2] else None,
    ]
