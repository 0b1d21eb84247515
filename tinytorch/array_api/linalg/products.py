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
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of an element of x1 (N) and one of x2 (M): (N, M). Raises ``ValueError`` for anything but vectors."""
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"outer takes two vectors, got shapes {tuple(x1.shape)} and {tuple(x2.shape)}")
    return x1[:, None] * x2[None, :]


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Cross products of vectors of three elements along ``axis``, counted from the end; other dimensions broadcast.

    Raises ``ValueError`` where there are not three elements.
    """
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross takes vectors of 3 elements along axis {axis}, got shapes {tuple(x1.shape)} and {tuple(x2.shape)}")
    return roll(x1, -1, axis=axis) * roll(x2, -2, axis=axis) - roll(x1, -2, axis=axis) * roll(x2, -1, axis=axis)


@operation(saves=Saves.NOTHING)
def diagonal(xp: Any, x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The elements of a diagonal of each matrix, ``offset`` columns to the right of the main one (to the left where negative)."""
    return xp.linalg.diagonal(x, offset=offset)


def _diagonal_rule(xp: Any, g: Any, out: Any, x: Any, offset: int = 0) -> Any:
    """Each element back to its place: spread along its row (its column, left of the main diagonal) and masked."""
    rows, columns = x.shape[-2:]
    length = rows if offset >= 0 else columns
    rest = xp.zeros((*g.shape[:-1], length - g.shape[-1]), dtype=g.dtype)
    spread = xp.expand_dims(xp.concat([g, rest], axis=-1), axis=-1 if offset >= 0 else -2)
    return xp.where(xp.eye(rows, columns, k=offset, dtype=xp.bool), spread, xp.zeros_like(spread))


diagonal.derivatives(x=_diagonal_rule)


def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """Sum of a diagonal of each matrix; see `diagonal`."""
    return sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """Square matrices multiplied with themselves ``n`` times; of the inverse, where n is negative.

    Raises ``TypeError`` where n is no whole number and ``ValueError`` where the matrices are not square.
    """
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power takes square matrices, got shape {tuple(x.shape)}")
    n = index(n)
    if n == 0:
        return broadcast_to(eye(x.shape[-1], dtype=x.dtype, device=x.device), x.shape)
    base, result, left = inv(x) if n < 0 else positive(x), None, abs(n)  # never x itself, which a caller may rebind
    while left:  # n in binary: a factor for each bit that is set
        if left % 2:
            result = base if result is None else matmul(result, base)
        left //= 2
        base = matmul(base, base) if left else base
    assert result is not None
    return result
