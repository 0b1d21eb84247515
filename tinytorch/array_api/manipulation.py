"""Functions that rearrange elements; their derivatives rearrange them back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from tinytorch.array_api.arithmetic import positive
from tinytorch.array_api.data_types import as_index
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor, check_same_backend

__all__ = [
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "diff",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "tril",
    "triu",
    "unstack",
]


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
def expand_dims(xp: Any, x: Tensor, /, axis: int = 0) -> Tensor:
    """A new dimension of length 1 at ``axis``."""
    return xp.expand_dims(x, axis=axis)


expand_dims.derivatives(x=lambda xp, g, out, x, axis=0: xp.reshape(g, x.shape))


@operation(saves=Saves.NOTHING)
def squeeze(xp: Any, x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """Without the dimensions of length 1 at ``axis``."""
    return xp.squeeze(x, axis=axis)


squeeze.derivatives(x=lambda xp, g, out, x, axis=None: xp.reshape(g, x.shape))


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """The arrays, repeated to the one shape that they broadcast to. Raises ``ValueError`` where there is none."""
    for array in arrays:
        check_same_backend("broadcast_arrays", arrays[0].backend, array)
    shape = broadcast_shape(*[array.shape for array in arrays])
    return [broadcast_to(array, shape) for array in arrays]


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to. Raises ``ValueError`` where there is none."""
    ndim = max((len(shape) for shape in shapes), default=0)
    columns = zip(*[(1,) * (ndim - len(shape)) + tuple(shape) for shape in shapes], strict=True)
    lengths = [set(column) - {1} or {1} for column in columns]
    if any(len(found) > 1 for found in lengths):
        raise ValueError(f"shapes {' and '.join(str(tuple(shape)) for shape in shapes)} do not broadcast to one")
    return tuple(found.pop() for found in lengths)


def meshgrid(*arrays: Tensor, indexing: Literal["xy", "ij"] = "xy") -> list[Tensor]:
    """Coordinate grids from coordinates of one dimension each; ``"xy"`` exchanges the first two dimensions of the grids.

    Raises ``ValueError`` for another ``indexing``, or for coordinates of more dimensions.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing must be 'xy' or 'ij', got {indexing!r}")
    if any(array.ndim > 1 for array in arrays):
        raise ValueError(f"meshgrid takes coordinates of one dimension each, got shapes {[tuple(array.shape) for array in arrays]}")
    places = list(range(len(arrays)))
    if indexing == "xy":
        places[:2] = reversed(places[:2])
    grid = [reshape(array, tuple(-1 if i == place else 1 for i in places)) for place, array in enumerate(arrays)]
    return broadcast_arrays(*grid)


@operation(saves=Saves.OTHERS)
def _repeat(xp: Any, x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    return xp.repeat(x, repeats, axis=axis)


_repeat.__name__ = "repeat"


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element (or slice along ``axis``) several times in a row; ``repeats`` may give each a number of its own."""
    return _repeat(x, as_index(repeats), axis=axis)


@operation(saves=Saves.NOTHING)
def tile(xp: Any, x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """The whole of x several times, side by side, along each dimension."""
    return xp.tile(x, repetitions)


def _tile_rule(xp: Any, g: Any, out: Any, x: Any, repetitions: tuple[int, ...]) -> Any:
    ndim = g.ndim
    times = (1,) * (ndim - len(repetitions)) + tuple(repetitions)
    lengths = (1,) * (ndim - x.ndim) + tuple(x.shape)
    parts = xp.reshape(g, tuple(n for pair in zip(times, lengths, strict=True) for n in pair))
    return xp.reshape(xp.sum(parts, axis=tuple(range(0, 2 * ndim, 2)), dtype=g.dtype), x.shape)


tile.derivatives(x=_tile_rule)


def diff(x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None) -> Tensor:
    """Differences of neighbours along ``axis``, ``n`` times over, after ``prepend`` and ``append`` were joined to the ends."""
    if n < 0:
        raise ValueError(f"diff takes differences n times, 0 or more, got {n}")
    if n == 0:
        return positive(x)  # never x itself, which a caller may rebind
    parts = [part for part in (prepend, x, append) if part is not None]
    if len(parts) > 1:
        x = concat(parts, axis=axis)
    before = tuple(slice(None, -1) if i == axis % x.ndim else slice(None) for i in range(x.ndim))
    after = tuple(slice(1, None) if i == axis % x.ndim else slice(None) for i in range(x.ndim))
    for _ in range(n):
        if not x.shape[axis]:  # nothing is left to subtract
            break
        x = x[after] - x[before]
    return x


@operation(saves=Saves.NOTHING)
def broadcast_to(xp: Any, x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """Repeated along dimensions of length 1, and new ones in front, to ``shape``."""
    return xp.broadcast_to(x, shape)


broadcast_to.derivatives(x=lambda xp, g, out, x, shape=None: g)  # the graph sums over broadcast dimensions


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
