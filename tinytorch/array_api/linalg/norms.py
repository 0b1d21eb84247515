"""Norms of vectors and matrices."""

from __future__ import annotations

import math
from typing import Any, Literal

from tinytorch.array_api.arithmetic import abs, conjugate
from tinytorch.array_api.linalg.decompositions import svdvals
from tinytorch.array_api.manipulation import expand_dims
from tinytorch.array_api.statistics import Axis, max, min, spread, sum
from tinytorch.operation import Saves, operation
from tinytorch.tensor import Tensor


@operation(saves=Saves.BOTH)
def vector_norm(xp: Any, x: Tensor, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """``sum(abs(x) ** ord) ** (1 / ord)`` along ``axis``; for ``inf`` and ``-inf`` the largest and smallest size, for 0 how many are not 0.

    The derivative at the zero vector is taken as 0, and elements that tie for the largest share it.
    """
    return xp.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)


def _vector_norm_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Any:
    if ord == 0:
        return xp.zeros_like(x)
    norm = spread(xp, out, x.shape, axis, keepdims)
    if ord == 2:  # without sign(x), which would hide the second derivative at elements that are 0
        zero = norm == 0
        direction = xp.where(zero, xp.zeros_like(x), conjugate(xp, x) / xp.where(zero, xp.ones_like(norm), norm))
        return spread(xp, g, x.shape, axis, keepdims) * direction
    direction, size = conjugate(xp, xp.sign(x)), xp.abs(x)
    if math.isinf(ord):
        attained = xp.astype(size == norm, size.dtype)
        share = attained / xp.sum(attained, axis=axis, keepdims=True)
    elif ord == 1:
        share = xp.ones_like(size)
    else:  # (|x| / norm) ** (ord - 1), with nothing for elements that are 0
        zero = (size == 0) | (norm == 0)
        ratio = xp.where(zero, xp.ones_like(size), size) / xp.where(zero, xp.ones_like(norm), norm)
        share = xp.where(zero, xp.zeros_like(size), ratio ** (ord - 1))
    return spread(xp, g, x.shape, axis, keepdims) * share * direction


vector_norm.derivatives(x=_vector_norm_rule)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: float | Literal["fro", "nuc"] | None = "fro") -> Tensor:
    """Norm of each matrix.

    Args:
        x: (..., M, N).
        keepdims: leave the last two dimensions with length 1.
        ord: ``"fro"`` (or ``None``) the root of all squares, ``"nuc"`` the sum of singular values, 2 and -2 the largest and smallest,
            1 and -1 the largest and smallest sum of sizes in a column, ``inf`` and ``-inf`` in a row.

    Raises:
        ValueError: there is no such norm, or x is no matrix.
    """
    if x.ndim < 2:
        raise ValueError(f"matrix_norm takes matrices, got shape {tuple(x.shape)}; use vector_norm")
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
        raise ValueError(f"ord must be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    return expand_dims(expand_dims(norm, axis=-1), axis=-1) if keepdims else norm
