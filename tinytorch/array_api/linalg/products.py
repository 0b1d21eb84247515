"""Products, diagonals and powers of vectors and matrices."""

from __future__ import annotations

from operator import index
from typing import Any

from tinytorch.array_api.arithmetic import positive
from tinytorch.array_api.creation import eye
from tinytorch.array_api.linalg.solving import inv
from tinytorch.array_api.linear_algebra import matmul
from tinytorch.array_api.manipulation import broadcast_to, roll
from tinytorch.array_api.statistics import sum
from tinytorch.autograd.arguments import as_tensors
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """Outer product of the vectors x1 (N,) and x2 (M,): (N, M).

    Raises:
        ValueError: x1 or x2 is not 1-d.

    Example:
        >>> tt.linalg.outer(tt.asarray([1.0, 2.0]), tt.asarray([3.0, 4.0])).tolist()
        [[3.0, 4.0], [6.0, 8.0]]
    """
    x1, x2 = as_tensors("outer", x1, x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"outer: x1 and x2 must be 1-d, got shapes {tuple(x1.shape)} and {tuple(x2.shape)}")
    return x1[:, None] * x2[None, :]


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Cross product of 3-element vectors along ``axis``; the other axes broadcast.

    Raises:
        ValueError: x1 or x2 does not have length 3 along ``axis``.

    Example:
        >>> tt.linalg.cross(tt.asarray([1, 0, 0]), tt.asarray([0, 1, 0]))
        Tensor([0, 0, 1], dtype=int64, device='numpy:cpu')
    """
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross: x1 and x2 must have length 3 along axis {axis}, got shapes {tuple(x1.shape)} and {tuple(x2.shape)}")
    return roll(x1, -1, axis=axis) * roll(x2, -2, axis=axis) - roll(x1, -2, axis=axis) * roll(x2, -1, axis=axis)


@operation(saves=Saves.NOTHING)
def diagonal(xp: Any, x: Tensor, /, *, offset: int = 0) -> Tensor:
    """A diagonal of each matrix, ``offset`` columns to the right of the main one (to the left if negative).

    Example:
        >>> tt.linalg.diagonal(tt.asarray([[1, 2], [3, 4]]))
        Tensor([1, 4], dtype=int64, device='numpy:cpu')
    """
    return xp.linalg.diagonal(x, offset=offset)


def _diagonal_rule(xp: Any, g: Any, out: Any, x: Any, offset: int = 0) -> Any:
    """Each element moved back to its position: broadcast along its row (column, if left of the main diagonal) and masked."""
    rows, columns = x.shape[-2:]
    length = rows if offset >= 0 else columns
    rest = xp.zeros((*g.shape[:-1], length - g.shape[-1]), dtype=g.dtype)
    expanded = xp.expand_dims(xp.concat([g, rest], axis=-1), axis=-1 if offset >= 0 else -2)
    return xp.where(xp.eye(rows, columns, k=offset, dtype=xp.bool), expanded, xp.zeros_like(expanded))


diagonal.derivatives(x=_diagonal_rule)


def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """Sum of a diagonal of each matrix; see `diagonal`.

    Example:
        >>> tt.linalg.trace(tt.asarray([[1, 2], [3, 4]]))
        Tensor(5, dtype=int64, device='numpy:cpu')
    """
    return sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """Square matrices raised to the integer power ``n``; a negative n uses the inverse.

    Raises:
        TypeError: n is not an integer.
        ValueError: the matrices are not square.

    Example:
        >>> tt.linalg.matrix_power(tt.asarray([[1.0, 1.0], [0.0, 1.0]]), 3).tolist()
        [[1.0, 3.0], [0.0, 1.0]]
    """
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power: the matrices must be square, got shape {tuple(x.shape)}")
    n = index(n)
    if n == 0:
        return broadcast_to(eye(x.shape[-1], dtype=x.dtype, device=x.device), x.shape)
    base, result, left = inv(x) if n < 0 else positive(x), None, abs(n)  # not x itself, which the caller may rebind
    while left:  # exponentiation by squaring
        if left % 2:
            result = base if result is None else matmul(result, base)
        left //= 2
        base = matmul(base, base) if left else base
    assert result is not None
    return result
