"""Functions that change the shape of arrays or the order of their elements."""

from __future__ import annotations

from typing import Any, Literal

from tinytorch.autograd.arguments import as_tensors
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor, check_same_backend

__all__ = [
    "broadcast_arrays",
    "broadcast_to",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "permute_dims",
    "reshape",
    "roll",
    "squeeze",
    "tril",
    "triu",
]


@operation(saves=Saves.NOTHING)
def reshape(xp: Any, x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The same elements in a new shape; one length may be -1 and is then inferred.

    Example:
        >>> tt.reshape(tt.arange(4), (2, -1)).tolist()
        [[0, 1], [2, 3]]
    """
    return xp.reshape(x, shape, copy=copy)


reshape.derivatives(x=lambda xp, g, out, x, shape=None, copy=None: xp.reshape(g, x.shape))


@operation(saves=Saves.NOTHING)
def permute_dims(xp: Any, x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """x with its axes in the order ``axes``.

    Example:
        >>> tt.permute_dims(tt.zeros((2, 3, 4)), (2, 0, 1)).shape
        (4, 2, 3)
    """
    return xp.permute_dims(x, axes)


def _permute_rule(xp: Any, g: Any, out: Any, x: Any, axes: tuple[int, ...]) -> Any:
    normal = [a % len(axes) for a in axes]
    return xp.permute_dims(g, tuple(normal.index(i) for i in range(len(axes))))


permute_dims.derivatives(x=_permute_rule)


@operation(saves=Saves.NOTHING)
def matrix_transpose(xp: Any, x: Tensor, /) -> Tensor:
    """x with its last two axes swapped.

    Example:
        >>> tt.matrix_transpose(tt.asarray([[1, 2], [3, 4]])).tolist()
        [[1, 3], [2, 4]]
    """
    return xp.matrix_transpose(x)


matrix_transpose.derivatives(x=lambda xp, g, out, x: xp.matrix_transpose(g))


@operation(saves=Saves.NOTHING)
def moveaxis(xp: Any, x: Tensor, source: int | tuple[int, ...], destination: int | tuple[int, ...], /) -> Tensor:
    """x with the axes ``source`` moved to the positions ``destination``; the other axes keep their order.

    Example:
        >>> tt.moveaxis(tt.zeros((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    return xp.moveaxis(x, source, destination)


moveaxis.derivatives(x=lambda xp, g, out, x, source, destination: xp.moveaxis(g, destination, source))


@operation(saves=Saves.NOTHING)
def expand_dims(xp: Any, x: Tensor, /, axis: int = 0) -> Tensor:
    """x with a new axis of length 1 at position ``axis``.

    Example:
        >>> tt.expand_dims(tt.zeros((2, 3)), axis=1).shape
        (2, 1, 3)
    """
    return xp.expand_dims(x, axis=axis)


expand_dims.derivatives(x=lambda xp, g, out, x, axis=0: xp.reshape(g, x.shape))


@operation(saves=Saves.NOTHING)
def squeeze(xp: Any, x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """x without the axes ``axis``, which must have length 1.

    Example:
        >>> tt.squeeze(tt.zeros((2, 1, 3)), axis=1).shape
        (2, 3)
    """
    return xp.squeeze(x, axis=axis)


squeeze.derivatives(x=lambda xp, g, out, x, axis=None: xp.reshape(g, x.shape))


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """The Tensors, broadcast to a common shape.

    Raises:
        ValueError: the shapes cannot be broadcast together.

    Example:
        >>> [x.shape for x in tt.broadcast_arrays(tt.zeros((2, 1)), tt.zeros(3))]
        [(2, 3), (2, 3)]
    """
    arrays = as_tensors("broadcast_arrays", *arrays)
    for array in arrays:
        check_same_backend("broadcast_arrays", arrays[0].backend, array)
    shape = broadcast_shape(*[array.shape for array in arrays])
    return [broadcast_to(array, shape) for array in arrays]


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which these shapes broadcast. Raises ``ValueError`` if they cannot be broadcast together."""
    ndim = max((len(shape) for shape in shapes), default=0)
    columns = zip(*[(1,) * (ndim - len(shape)) + tuple(shape) for shape in shapes], strict=True)
    lengths = [set(column) - {1} or {1} for column in columns]
    if any(len(found) > 1 for found in lengths):
        raise ValueError(f"shapes {' and '.join(str(tuple(shape)) for shape in shapes)} cannot be broadcast together")
    return tuple(found.pop() for found in lengths)


def meshgrid(*arrays: Tensor, indexing: Literal["xy", "ij"] = "xy") -> list[Tensor]:
    """Coordinate grids from 1-d coordinates; with ``indexing="xy"`` the first two axes of the grids are swapped.

    Raises:
        ValueError: ``indexing`` is not "xy" or "ij", or an input is not 1-d.

    Example:
        >>> rows, columns = tt.meshgrid(tt.asarray([0, 1]), tt.asarray([5, 6, 7]), indexing="ij")
        >>> rows.tolist(), columns.tolist()
        ([[0, 0, 0], [1, 1, 1]], [[5, 6, 7], [5, 6, 7]])
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"`indexing` must be 'xy' or 'ij', got {indexing!r}")
    if any(array.ndim > 1 for array in arrays):
        raise ValueError(f"meshgrid: coordinates must be 1-d, got shapes {[tuple(array.shape) for array in arrays]}")
    axes = list(range(len(arrays)))
    if indexing == "xy":
        axes[:2] = reversed(axes[:2])
    grid = [reshape(array, tuple(-1 if i == axis else 1 for i in axes)) for axis, array in enumerate(arrays)]
    return broadcast_arrays(*grid)


@operation(saves=Saves.NOTHING)
def broadcast_to(xp: Any, x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """x broadcast to ``shape``.

    Example:
        >>> tt.broadcast_to(tt.asarray([1, 2]), (2, 2)).tolist()
        [[1, 2], [1, 2]]
    """
    return xp.broadcast_to(x, shape)


broadcast_to.derivatives(x=lambda xp, g, out, x, shape=None: g)  # the graph sums over broadcast dimensions


@operation(saves=Saves.NOTHING)
def flip(xp: Any, x: Tensor, /, *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x with its elements in reverse order along ``axis`` (default: all axes).

    Example:
        >>> tt.flip(tt.asarray([1, 2, 3]))
        Tensor([3, 2, 1], dtype=int64, device='numpy:cpu')
    """
    return xp.flip(x, axis=axis)


flip.derivatives(x=lambda xp, g, out, x, axis=None: xp.flip(g, axis=axis))


@operation(saves=Saves.NOTHING)
def roll(xp: Any, x: Tensor, /, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x shifted by ``shift`` positions along ``axis``; elements shifted past the end reappear at the start.

    Example:
        >>> tt.roll(tt.asarray([1, 2, 3]), 1)
        Tensor([3, 1, 2], dtype=int64, device='numpy:cpu')
    """
    return xp.roll(x, shift, axis=axis)


roll.derivatives(
    x=lambda xp, g, out, x, shift, axis=None: xp.roll(g, -shift if isinstance(shift, int) else tuple(-s for s in shift), axis=axis)
)


@operation(saves=Saves.NOTHING)
def tril(xp: Any, x: Tensor, /, *, k: int = 0) -> Tensor:
    """Lower triangle of each matrix: elements above diagonal ``k`` are 0.

    Example:
        >>> tt.tril(tt.ones((2, 2))).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    return xp.tril(x, k=k)


tril.derivatives(x=lambda xp, g, out, x, k=0: xp.tril(g, k=k))


@operation(saves=Saves.NOTHING)
def triu(xp: Any, x: Tensor, /, *, k: int = 0) -> Tensor:
    """Upper triangle of each matrix: elements below diagonal ``k`` are 0.

    Example:
        >>> tt.triu(tt.ones((2, 2)), k=1).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    return xp.triu(x, k=k)


triu.derivatives(x=lambda xp, g, out, x, k=0: xp.triu(g, k=k))
