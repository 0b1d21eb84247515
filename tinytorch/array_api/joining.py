"""Functions that join, split and repeat arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.arithmetic import positive
from tinytorch.array_api.data_types import as_index
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "concat",
    "diff",
    "repeat",
    "stack",
    "tile",
    "unstack",
]


@operation(saves=Saves.OTHERS)
def _repeat(xp: Any, x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    return xp.repeat(x, repeats, axis=axis)


_repeat.__name__ = "repeat"


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element of the flattened x, or each slice along ``axis``, repeated ``repeats`` times.

    Args:
        x: any shape.
        repeats: a count for all elements, or a Tensor with one count per element.
        axis: defaults to None, which flattens x first.

    Example:
        >>> tt.repeat(tt.asarray([1, 2]), 2)
        Tensor([1, 1, 2, 2], dtype=int64, device='numpy:cpu')
    """
    return _repeat(x, as_index(repeats), axis=axis)


@operation(saves=Saves.NOTHING)
def tile(xp: Any, x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """x repeated as a whole, ``repetitions[i]`` times along axis i.

    Example:
        >>> tt.tile(tt.asarray([1, 2]), (2,))
        Tensor([1, 2, 1, 2], dtype=int64, device='numpy:cpu')
    """
    return xp.tile(x, repetitions)


def _tile_rule(xp: Any, g: Any, out: Any, x: Any, repetitions: tuple[int, ...]) -> Any:
    ndim = g.ndim
    times = (1,) * (ndim - len(repetitions)) + tuple(repetitions)
    lengths = (1,) * (ndim - x.ndim) + tuple(x.shape)
    parts = xp.reshape(g, tuple(n for pair in zip(times, lengths, strict=True) for n in pair))
    return xp.reshape(xp.sum(parts, axis=tuple(range(0, 2 * ndim, 2)), dtype=g.dtype), x.shape)


tile.derivatives(x=_tile_rule)


def diff(x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None) -> Tensor:
    """The n-th difference of neighboring elements along ``axis``; ``prepend`` and ``append`` are first joined to the ends of x.

    Example:
        >>> tt.diff(tt.asarray([1, 4, 9]))
        Tensor([3, 5], dtype=int64, device='numpy:cpu')
    """
    if n < 0:
        raise ValueError(f"diff: `n` must be at least 0, got {n}")
    if n == 0:
        return positive(x)  # not x itself, which the caller may rebind
    parts = [part for part in (prepend, x, append) if part is not None]
    if len(parts) > 1:
        x = concat(parts, axis=axis)
    before = tuple(slice(None, -1) if i == axis % x.ndim else slice(None) for i in range(x.ndim))
    after = tuple(slice(1, None) if i == axis % x.ndim else slice(None) for i in range(x.ndim))
    for _ in range(n):
        if not x.shape[axis]:  # empty already
            break
        x = x[after] - x[before]
    return x


@operation(saves=Saves.NOTHING)
def _concat(xp: Any, *arrays: Tensor, axis: int | None = 0) -> Tensor:
    return xp.concat(arrays, axis=axis)


_concat.__name__ = "concat"


@_concat.joint_derivative
def _concat_rule(xp: Any, g: Any, out: Any, arrays: Sequence[Any], needs: Sequence[bool], axis: int | None = 0) -> list[Any]:
    grads, start = [], 0
    for array in arrays:
        length = math.prod(array.shape) if axis is None else array.shape[axis]
        rows = slice(start, start + length)
        key = (rows,) if axis is None else tuple(rows if i == axis % g.ndim else slice(None) for i in range(g.ndim))
        grads.append(xp.reshape(g[key], array.shape))
        start += length
    return [grad if needed else None for grad, needed in zip(grads, needs, strict=True)]


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Tensors joined along an existing axis; with ``axis=None`` they are flattened first.

    Example:
        >>> tt.concat([tt.asarray([1, 2]), tt.asarray([3])])
        Tensor([1, 2, 3], dtype=int64, device='numpy:cpu')
    """
    return _concat(*arrays, axis=axis)


@operation(saves=Saves.NOTHING)
def _stack(xp: Any, *arrays: Tensor, axis: int = 0) -> Tensor:
    return xp.stack(arrays, axis=axis)


_stack.__name__ = "stack"


@_stack.joint_derivative
def _stack_rule(xp: Any, g: Any, out: Any, arrays: Sequence[Any], needs: Sequence[bool], axis: int = 0) -> list[Any]:
    position = axis % g.ndim
    return [g[tuple(i if d == position else slice(None) for d in range(g.ndim))] if needs[i] else None for i in range(len(arrays))]


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Tensors of the same shape joined along a new axis.

    Example:
        >>> tt.stack([tt.asarray([1, 2]), tt.asarray([3, 4])]).tolist()
        [[1, 2], [3, 4]]
    """
    return _stack(*arrays, axis=axis)


@operation(saves=Saves.NOTHING)
def unstack(xp: Any, x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along ``axis``; the inverse of `stack`.

    Example:
        >>> [row.tolist() for row in tt.unstack(tt.asarray([[1, 2], [3, 4]]))]
        [[1, 2], [3, 4]]
    """
    return tuple(xp.unstack(x, axis=axis))


def _unstack_rule(xp: Any, g: dict[int, Any], out: Any, x: Any, axis: int = 0) -> Any:
    zeros = xp.zeros_like(next(iter(g.values())))
    return xp.stack([g.get(i, zeros) for i in range(x.shape[axis])], axis=axis)


unstack.derivatives(x=_unstack_rule)
