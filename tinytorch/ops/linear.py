"""The affine map of a linear layer: x W^T + b."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def linear(xp: Any, x: Any, weight: Any, bias: Any) -> tuple[Tensor, None]:
    """The affine map ``x @ weight^T + bias``.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out), or ``None``.

    Returns:
        (..., out).

    Example:
        >>> tt.ops.linear(tt.ones((2, 3)), tt.ones((1, 3)), tt.asarray([0.5]))
        Tensor([[3.5],
                [3.5]], dtype=float32, device='numpy:cpu')
    """
    # one 2-d matmul, since batched matmuls are slow in array libraries
    rows = xp.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))
    out = xp.matmul(upcast(xp, rows), xp.matrix_transpose(upcast(xp, weight)))
    if bias is not None:
        out = out + bias
    return xp.reshape(downcast(xp, out, x), (*x.shape[:-1], weight.shape[0])), None


@linear.joint_derivative
def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    x, weight, bias = inputs
    rows = upcast(xp, xp.reshape(x, (prod(x.shape[:-1]), x.shape[-1])))
    g_rows = upcast(xp, xp.reshape(g, (rows.shape[0], weight.shape[0])))
    return [
        xp.reshape(downcast(xp, xp.matmul(g_rows, upcast(xp, weight)), x), x.shape) if needs[0] else None,
        downcast(xp, xp.matmul(xp.matrix_transpose(g_rows), rows), weight) if needs[1] else None,
        downcast(xp, xp.sum(g_rows, axis=0), bias) if needs[2] else None,
    ]
