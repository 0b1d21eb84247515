"""The rectified linear unit (Fukushima 1969; Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def relu(xp: Any, x: Any) -> tuple[Tensor, None]:
    """Rectified linear unit, ``max(x, 0)``. NaN stays NaN, and the derivative at 0 is 0.

    Args:
        x: an array of any shape.

    Returns:
        An array of the shape of ``x``.

    Example:
        >>> tt.ops.relu(tt.asarray([-1.0, 2.0]))
        Tensor([0., 2.], dtype=float32, device='numpy:cpu')
    """
    return xp.where(x <= 0, xp.zeros_like(x), x), None


@relu.joint_derivative
def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    (x,) = inputs
    return [xp.where(x <= 0, xp.zeros_like(g), g)]
