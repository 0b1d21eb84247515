"""Products of vectors, matrices and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.complex_numbers import conjugate
from tinytorch.autograd.arguments import ShapeDtype
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "matmul",
    "tensordot",
    "vecdot",
]


@operation(saves=Saves.OTHERS)
def matmul(xp: Any, x1: Tensor, x2: Tensor, /) -> Tensor:
    """Matrix product of the last two dimensions; the leading dimensions broadcast.

    A 1-d x1 is a row vector, a 1-d x2 is a column vector, and the added dimension is removed from the result.

    Example:
        >>> tt.matmul(tt.asarray([[1.0, 2.0], [3.0, 4.0]]), tt.asarray([1.0, 1.0]))
        Tensor([3., 7.], dtype=float32, device='numpy:cpu')
    """
    return xp.matmul(x1, x2)


def _as_matrices(xp: Any, g: Any, x1: Any, x2: Any) -> tuple[Any, Any, Any]:
    """g, x1 and x2 as matrices: a vector becomes a row or a column, and g regains the dimension that the product removed."""
    if x1.ndim == 1:
        g = xp.expand_dims(g, axis=-1 if x2.ndim == 1 else -2)
    if x2.ndim == 1:
        g = xp.expand_dims(g, axis=-1)
    row = x1 if x1.ndim > 1 or isinstance(x1, ShapeDtype) else xp.expand_dims(x1, axis=0)
    column = x2 if x2.ndim > 1 or isinstance(x2, ShapeDtype) else xp.expand_dims(x2, axis=1)
    return g, row, column


def _matmul_left(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    g, _, column = _as_matrices(xp, g, x1, x2)
    product = xp.matmul(g, xp.matrix_transpose(column))
    return xp.squeeze(product, axis=-2) if x1.ndim == 1 else product


def _matmul_right(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    g, row, _ = _as_matrices(xp, g, x1, x2)
    product = xp.matmul(xp.matrix_transpose(row), g)
    return xp.squeeze(product, axis=-1) if x2.ndim == 1 else product


@operation(saves=Saves.OTHERS)
def vecdot(xp: Any, x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Dot product along ``axis``; x1 is conjugated if it is complex.

    Example:
        >>> tt.vecdot(tt.asarray([1.0, 2.0]), tt.asarray([3.0, 4.0]))
        Tensor(11., dtype=float32, device='numpy:cpu')
    """
    return xp.vecdot(x1, x2, axis=axis)


vecdot.derivatives(
    x1=lambda xp, g, out, x1, x2, axis=-1: conjugate(xp, xp.expand_dims(g, axis=axis) * x2),
    x2=lambda xp, g, out, x1, x2, axis=-1: xp.expand_dims(g, axis=axis) * conjugate(xp, x1),
)


@operation(saves=Saves.OTHERS)
def tensordot(xp: Any, x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """Sum of products over the last ``axes`` dimensions of x1 and the first ``axes`` of x2, or over the two lists of axes in ``axes``.

    Example:
        >>> tt.tensordot(tt.ones((2, 3)), tt.ones((3, 4)), axes=1).shape
        (2, 4)
    """
    return xp.tensordot(x1, x2, axes=axes)


def _contracted(axes: Any, ndim1: int, ndim2: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """The contracted and the free axes of both operands."""
    if isinstance(axes, int):
        axes = (range(ndim1 - axes, ndim1), range(axes))
    sum1, sum2 = [a % ndim1 for a in axes[0]], [a % ndim2 for a in axes[1]]
    return sum1, sum2, [i for i in range(ndim1) if i not in sum1], [i for i in range(ndim2) if i not in sum2]


def _tensordot_left(xp: Any, g: Any, out: Any, x1: Any, x2: Any, axes: Any = 2) -> Any:
    sum1, sum2, free1, free2 = _contracted(axes, x1.ndim, x2.ndim)
    product = xp.tensordot(g, x2, axes=(tuple(range(len(free1), g.ndim)), tuple(free2)))  # free1, then contracted axes in the order of x2
    order = free1 + [sum1[sum2.index(i)] for i in sorted(sum2)]
    return xp.permute_dims(product, tuple(order.index(i) for i in range(x1.ndim)))


def _tensordot_right(xp: Any, g: Any, out: Any, x1: Any, x2: Any, axes: Any = 2) -> Any:
    sum1, sum2, free1, free2 = _contracted(axes, x1.ndim, x2.ndim)
    product = xp.tensordot(x1, g, axes=(tuple(free1), tuple(range(len(free1)))))  # contracted axes in the order of x1, then free2
    order = [sum2[sum1.index(i)] for i in sorted(sum1)] + free2
    return xp.permute_dims(product, tuple(order.index(i) for i in range(x2.ndim)))


matmul.derivatives(x1=_matmul_left, x2=_matmul_right)
tensordot.derivatives(x1=_tensordot_left, x2=_tensordot_right)
