"""Linear least squares, which is not in the standard."""

from __future__ import annotations

from typing import NamedTuple

from tinytorch.array_api.complex_numbers import conj, real
from tinytorch.array_api.linalg.decompositions import svdvals
from tinytorch.array_api.linalg.solving import matrix_rank, pinv
from tinytorch.array_api.linear_algebra import matmul
from tinytorch.array_api.manipulation import expand_dims, squeeze
from tinytorch.array_api.statistics import sum
from tinytorch.tensor import Tensor


class LstsqResult(NamedTuple):
    """Result of `lstsq`: the solution, the squared residual of each column, the rank of each matrix, and its singular values."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def lstsq(x1: Tensor, x2: Tensor, /, *, rtol: float | None = None) -> LstsqResult:
    """The least-squares solution y of ``x1 @ y == x2``; of several solutions that with the smallest norm.

    The derivative is for changes of x1 that keep its rank (Golub and Pereyra 1973).

    Args:
        x1: matrices (..., M, N).
        x2: right-hand side (M,), or (..., M, K) with a solution for each column.
        rtol: singular values up to ``rtol`` times the largest one are treated as 0; by default max(M, N) times the precision of the dtype.

    Returns:
        ``solution``, (N,) or (..., N, K); ``residuals``, the sum of squares of ``x1 @ y - x2`` for each column, () or (..., K), also
        where numpy and PyTorch return an empty array; ``rank``, (...); ``singular_values``, (..., min(M, N)).

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> x = tt.asarray([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
        >>> tt.round(tt.linalg.lstsq(x, tt.asarray([1.0, 3.0, 5.0])).solution)  # the line 1 + 2 t
        Tensor([1., 2.], dtype=float32, device='numpy:cpu')
    """
    if x1.ndim < 2 or x2.ndim < 1 or x1.shape[-2] != x2.shape[-2 if x2.ndim > 1 else 0]:
        raise ValueError(f"lstsq expected x1 (..., M, N) and x2 (M,) or (..., M, K), got shapes {x1.shape} and {x2.shape}")
    right = expand_dims(x2, axis=-1) if x2.ndim == 1 else x2
    solution = matmul(pinv(x1, rtol=rtol), right)
    difference = matmul(x1, solution) - right
    complex_numbers = difference.dtype.kind == "complex floating"
    residuals = sum(real(difference * conj(difference)) if complex_numbers else difference * difference, axis=-2)
    if x2.ndim == 1:
        solution, residuals = squeeze(solution, axis=-1), squeeze(residuals, axis=-1)
    return LstsqResult(solution, residuals, matrix_rank(x1.detach(), rtol=rtol), svdvals(x1))
