"""Norms of vectors and matrices."""

from __future__ import annotations

import math
from typing import Any, Literal

from tinytorch.array_api.arithmetic import abs
from tinytorch.array_api.complex_numbers import conjugate, is_complex
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.linalg.decompositions import svdvals
from tinytorch.array_api.manipulation import expand_dims
from tinytorch.array_api.precision import in_32_bits, upcast
from tinytorch.array_api.statistics import Axis, broadcast_reduced, max, min, sum, tie_weights
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


@operation(saves=Saves.BOTH)
def vector_norm(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """Vector norm over ``axis`` (default: all axes).

    The derivative at the zero vector is defined as 0, and equal maxima share the gradient equally.

    Args:
        x: any shape.
        axis: one or several axes.
        keepdims: keep the reduced axes with length 1.
        ord: the order p of ``sum(abs(x) ** p) ** (1 / p)``; ``inf`` and ``-inf`` give the maximum and minimum of abs(x), 0 the number of
            nonzero elements.

    Example:
        >>> tt.linalg.vector_norm(tt.asarray([3.0, 4.0]))
        Tensor(5., dtype=float32, device='numpy:cpu')
    """
    if ord == 0:  # PyTorch warns about a dropped imaginary part for a single complex number
        size = xp.abs(x)
        return in_32_bits(xp, lambda nonzero: xp.sum(nonzero, axis=axis, keepdims=keepdims), xp.astype(size != 0, size.dtype))
    return in_32_bits(xp, lambda x: xp.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord), x)


def _vector_norm_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Any:
    if ord == 0:
        return xp.zeros_like(x)
    x, norm = upcast(xp, x), broadcast_reduced(xp, upcast(xp, out), x.shape, axis, keepdims)
    slope = _slope(xp, x, norm, axis, ord)
    linear = ord in (1, math.inf, -math.inf)  # for real numbers, these norms are piecewise linear
    if not linear or is_complex(xp, x):
        slope = kinked(xp, slope, norm, norm == 0)
    if is_complex(xp, x) if linear else ord < 1:
        slope = kinked(xp, slope, x, x == 0)
    return broadcast_reduced(xp, g, x.shape, axis, keepdims) * slope


def _slope(xp: Any, x: Any, norm: Any, axis: Axis, ord: float) -> Any:
    """The derivative of a norm with respect to each element, defined as 0 at elements that are 0."""
    divisor = xp.where(norm == 0, xp.ones_like(norm), norm)
    if ord > 0 and ord % 2 == 0:  # without sign and abs, whose higher derivatives at 0 would be wrong
        unit = conjugate(xp, x / divisor)
        return unit if ord == 2 else unit * xp.astype(_squares(xp, unit) ** (ord / 2 - 1), x.dtype)
    direction, size = conjugate(xp, xp.sign(x)), xp.abs(x)
    if ord == 1:
        return direction
    if math.isinf(ord):
        return direction * tie_weights(xp, size == norm, size, axis)
    if ord > 1:
        return direction * (size / divisor) ** (ord - 1)
    zero = size == 0
    return direction * xp.where(zero, xp.zeros_like(size), (xp.where(zero, xp.ones_like(size), size) / divisor) ** (ord - 1))


def _squares(xp: Any, x: Any) -> Any:
    return xp.real(x * xp.conj(x)) if is_complex(xp, x) else x * x


vector_norm.derivatives(x=_vector_norm_rule)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: float | Literal["fro", "nuc"] | None = "fro") -> Tensor:
    """Norm of each matrix.

    Args:
        x: (..., M, N).
        keepdims: keep the last two axes with length 1.
        ord: ``"fro"`` (or ``None``) the Frobenius norm, ``"nuc"`` the sum of singular values, 2 and -2 the largest and smallest singular
            value, 1 and -1 the largest and smallest sum of abs(x) over a column, ``inf`` and ``-inf`` over a row.

    Raises:
        ValueError: ``ord`` is unknown, or x has fewer than two dimensions.

    Example:
        >>> tt.linalg.matrix_norm(tt.asarray([[3.0, 0.0], [0.0, 4.0]]))
        Tensor(5., dtype=float32, device='numpy:cpu')
    """
    if x.ndim < 2:
        raise ValueError(f"matrix_norm: x must have at least 2 dimensions, got shape {tuple(x.shape)}; use vector_norm")
    if ord is None or ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord == "nuc":
        norm = sum(svdvals(x), axis=-1)
    elif ord in (2, -2):
        norm = (max if ord == 2 else min)(svdvals(x), axis=-1)
    elif ord in (1, -1):
        norm = (max if ord == 1 else min)(sum(abs(x), axis=-2), axis=-1)
    elif ord in (math.inf, -math.inf):
        norm = (max if ord == math.inf else min)(sum(abs(x), axis=-1), axis=-1)
    else:
        raise ValueError(f"`ord` must be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return expand_dims(expand_dims(norm, axis=-1), axis=-1) if keepdims else norm
