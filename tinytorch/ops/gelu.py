"""The Gaussian error linear unit (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.approximation import call
from tinytorch.array_api.error_functions import erf
from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor

_SCALE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


@fused_operation
def gelu(xp: Any, x: Any, *, approximate: str) -> tuple[Tensor, None]:
    """Gaussian error linear unit: x times the cumulative distribution function of the standard normal distribution at x.

    Args:
        x: an array of any shape.
        approximate: ``"none"``, or ``"tanh"`` for the tanh approximation.

    Returns:
        An array of the shape of ``x``.

    Example:
        >>> tt.ops.gelu(tt.asarray([-1.0, 0.0, 1.0]), approximate="none")
        Tensor([-0.15865526,  0.        ,  0.8413447 ], dtype=float32, device='numpy:cpu')
    """
    wide = upcast(xp, x)
    if approximate == "tanh":
        cdf = 0.5 * (1.0 + xp.tanh(_SCALE * (wide + _CUBIC * (wide * wide * wide))))
    else:
        cdf = 0.5 * (1.0 + call(erf, xp, wide * math.sqrt(0.5)))
    return downcast(xp, wide * cdf, x), None


@gelu.joint_derivative
def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, approximate: str) -> list[Any]:
    x = upcast(xp, inputs[0])
    if approximate == "tanh":
        square = x * x
        t = xp.tanh(_SCALE * x * (1.0 + _CUBIC * square))
        slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (_SCALE * (1.0 + 3.0 * _CUBIC * square))
    else:
        density = xp.exp(-0.5 * (x * x)) * (1.0 / math.sqrt(2 * math.pi))
        slope = 0.5 * (1.0 + call(erf, xp, x * math.sqrt(0.5))) + x * density
    return [downcast(xp, upcast(xp, g) * slope, inputs[0])]
