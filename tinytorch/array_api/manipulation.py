"""Functions that rearrange elements; their derivatives rearrange them back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.operation import Saves, operation
from tinytorch.tensor import Tensor


@operation(saves=Saves.NOTHING)
def reshape(xp: Any, x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The same elements, in the same order, in another shape; one length may be -1 and is worked out."""
    return xp.reshape(x, shape, copy=copy)


reshape.derivatives(x=lambda xp, g, out, x, shape=None, copy=None: xp.reshape(g, x.shape))


@operation(saves=Saves.NOTHING)
def permute_dims(xp: Any, x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """Dimensions in another order."""
    return xp.permute_dims(x, axes)


def _permute_rule(xp: Any, g: Any, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    normal = [a % len(axes) for a in axes]
    return xp.permute_dims(g, tuple(normal.index(i) for i in range(len(axes))))


permute_dims.derivatives(x=_permute_rule)


@operation(saves=Saves.NOTHING)
def matrix_transpose(xp: Any, x: Tensor, /) -> Tensor:
    """The last two dimensions exchanged."""
    return xp.matrix_transpose(x)


matrix_transpose.derivatives(x=lambda xp, g, out, x: xp.matrix_transpose(g))


@operation(saves=Saves.NOTHING)
def moveaxis(xp: Any, x: Tensor, source: int | tuple[int, ...], destination: int | tuple[int, ...], /) -> Tensor:
    """Dimensions moved to new places, the others keeping their order."""
    return xp.moveaxis(x, source, destination)


moveaxis.derivatives(x=lambda xp, g, out, x, source, destination: xp.moveaxis(g, destination, source))


@operation(saves=Saves.NOTHING)
def expand_dims(xp: Any, x: Tensor, /, *, axis: int = 0) -> Tensor:
    """A new dimension of length 1 at ``axis``."""
    return xp.expand_dims(x, axis=axis)


expand_dims.derivatives(x=lambda xp, g, out, x, axis=0: xp.reshape(g, x.shape))


@operation(saves=Saves.NOTHING)
def squeeze(xp: Any, x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """Without the dimensions of length 1 at ``axis``."""
    return xp.squeeze(x, axis=axis)


squeeze.derivatives(x=lambda xp, g, out, x, axis=None: xp.reshape(g, x.shape))


@operation(saves=Saves.NOTHING)
def broadcast_to(xp: Any, x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """Repeated along dimensions of length 1, and new ones in front, to ``shape``."""
    return xp.broadcast_to(x, shape)


broadcast_to.derivatives(x=lambda xp, g, out, x, shape=None: g)  # the tape sums over broadcast dimensions


@operation(saves=Saves.NOTHING)
def flip(xp: Any, x: Tensor, /, *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Elements in reverse order along ``axis``."""
    return xp.flip(x, axis=axis)


flip.derivatives(x=lambda xp, g, out, x, axis=None: xp.flip(g, axis=axis))


@operation(saves=Saves.NOTHING)
def roll(xp: Any, x: Tensor, /, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Elements moved along ``axis``; those pushed off the end come in at the start."""
    return xp.roll(x, shift, axis=axis)


roll.derivatives(
    x=lambda xp, g, out, x, shift, axis=None: xp.roll(g, -shift if isinstance(shift, int) else tuple(-s for s in shift), axis=axis)
)


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
    """Arrays joined along a dimension they have; ``None`` flattens them first."""
    return _concat(*arrays, axis=axis)


@operation(saves=Saves.NOTHING)
def _stack(xp: Any, *arrays: Tensor, axis: int = 0) -> Tensor:
    return xp.stack(arrays, axis=axis)


_stack.__name__ = "stack"


@_stack.joint_derivative
def _stack_rule(xp: Any, g: Any, out: Any, arrays: Sequence[Any], needs: Sequence[bool], axis: int = 0) -> list[Any]:
    at = axis % g.ndim
    return [g[tuple(i if d == at else slice(None) for d in range(g.ndim))] if needs[i] else None for i in range(len(arrays))]


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape joined along a new dimension."""
    return _stack(*arrays, axis=axis)


@operation(saves=Saves.NOTHING)
def unstack(xp: Any, x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along ``axis``; the reverse of `stack`."""
    return tuple(xp.unstack(x, axis=axis))


def _unstack_rule(xp: Any, g: dict[int, Any], out: Any, x: Any, axis: int = 0) -> Any:
    zeros = xp.zeros_like(next(iter(g.values())))
    return xp.stack([g.get(i, zeros) for i in range(x.shape[axis])], axis=axis)


unstack.derivatives(x=_unstack_rule)


@operation(saves=Saves.NOTHING)
def tril(xp: Any, x: Tensor, /, *, k: int = 0) -> Tensor:
    """Matrices with everything above diagonal ``k`` set to zero."""
    return xp.tril(x, k=k)


tril.derivatives(x=lambda xp, g, out, x, k=0: xp.tril(g, k=k))


@operation(saves=Saves.NOTHING)
def triu(xp: Any, x: Tensor, /, *, k: int = 0) -> Tensor:
    """Matrices with everything below diagonal ``k`` set to zero."""
    return xp.triu(x, k=k)


triu.derivatives(x=lambda xp, g, out, x, k=0: xp.triu(g, k=k))
