"""Methods that change the shape or the order of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinytorch.tensor_methods.attributes import Attributes

if TYPE_CHECKING:
    from tinytorch.tensor import Tensor


class Shapes(Attributes):
    """Methods for shapes. Lengths and axes are passed one by one or as a tuple: ``x.reshape(2, 3)``, ``x.reshape((2, 3))``."""

    __slots__ = ()

    @property
    def T(self) -> Tensor:
        """Transpose of a matrix."""
        if self.ndim != 2:
            raise ValueError(f".T expected a matrix, got shape {self.shape}; use .mT or permute_dims")
        return self.mT

    @property
    def mT(self) -> Tensor:
        """Transpose of the last two axes."""
        return self._as_view(self.backend.namespace.matrix_transpose(self))

    def t(self) -> Tensor:
        """Transpose of a matrix."""
        return self.T

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in a new shape; one length may be -1 and is then inferred."""
        return self._as_view(self.backend.namespace.reshape(self, _integers("reshape", shape)))

    def view(self, *shape: Any) -> Tensor:
        """`reshape`. Unlike in PyTorch, any layout in memory is accepted, and the result is a snapshot."""
        return self._as_view(self.backend.namespace.reshape(self, _integers("view", shape)))

    def view_as(self, other: Tensor) -> Tensor:
        """The same elements in the shape of ``other``."""
        return self.reshape(other.shape)

    reshape_as = view_as

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes from ``start_dim`` to ``end_dim``, which is included, joined into one."""
        if not isinstance(start_dim, int):
            raise TypeError(f"flatten() expected an axis, got {start_dim!r}; the elements are in C order")
        shape, ndim = self.shape or (1,), max(self.ndim, 1)
        start, end = _axis("flatten", start_dim, ndim), _axis("flatten", end_dim, ndim)
        if start > end:
            raise ValueError(f"flatten() expected `start_dim` before `end_dim`, got {start_dim} and {end_dim}")
        length = 1
        for n in shape[start : end + 1]:
            length *= n
        return self.reshape(*shape[:start], length, *shape[end + 1 :])

    def ravel(self) -> Tensor:
        """All elements in one axis."""
        return self.flatten()

    def transpose(self, *axes: Any, dim0: int | None = None, dim1: int | None = None) -> Tensor:
        """``x.transpose(i, j)`` swaps two axes; ``x.transpose()`` reverses all axes; a tuple of axes is their new order."""
        if dim0 is not None and dim1 is not None and not axes:
            axes = (dim0, dim1)
        if len(axes) == 2:
            return self.swapaxes(*axes)
        if len(axes) == 1 and isinstance(axes[0], int):
            raise TypeError(f"transpose({axes[0]}) needs a second axis; write x.transpose(i, j) to swap two axes")
        return self.permute(*axes) if axes else self.permute(*reversed(range(self.ndim)))

    def swapaxes(self, axis0: int, axis1: int) -> Tensor:
        """x with two axes swapped."""
        order = list(range(self.ndim))
        i, j = _axis("swapaxes", axis0, self.ndim), _axis("swapaxes", axis1, self.ndim)
        order[i], order[j] = order[j], order[i]
        return self.permute(*order)

    swapdims = swapaxes

    def permute(self, *dims: Any) -> Tensor:
        """x with its axes in the order ``dims``."""
        return self._as_view(self.backend.namespace.permute_dims(self, _integers("permute", dims)))

    def moveaxis(self, source: int | tuple[int, ...], destination: int | tuple[int, ...]) -> Tensor:
        """x with the axes ``source`` moved to the positions ``destination``."""
        return self._as_view(self.backend.namespace.moveaxis(self, source, destination))

    def unsqueeze(self, dim: int) -> Tensor:
        """x with a new axis of length 1 at position ``dim``."""
        return self._as_view(self.backend.namespace.expand_dims(self, axis=dim))

    def squeeze(self, axis: int | tuple[int, ...] | None = None, *, dim: int | tuple[int, ...] | None = None) -> Tensor:
        """x without the given axes (default: all) of length 1. An axis of another length raises, as in numpy."""
        if axis is not None and dim is not None:
            raise TypeError("squeeze: `axis` and `dim` are the same argument; pass one of them")
        axis = dim if axis is None else axis
        if axis is None:
            axis = tuple(i for i, n in enumerate(self.shape) if n == 1)
        for i in (axis,) if isinstance(axis, int) else axis:
            if self.shape[_axis("squeeze", i, self.ndim)] != 1:
                raise ValueError(f"squeeze() expected axes of length 1, but axis {i} has length {self.shape[i]}")
        return self._as_view(self.backend.namespace.squeeze(self, axis=axis))

    def expand(self, *shape: Any) -> Tensor:
        """x broadcast to ``shape``; -1 keeps the length of an axis."""
        lengths = _integers("expand", shape)
        own = (1,) * (len(lengths) - self.ndim) + self.shape
        wanted = tuple(n if m == -1 else m for m, n in zip(lengths, own[-len(lengths) :] if lengths else (), strict=True))
        return self._as_view(self.backend.namespace.broadcast_to(self, wanted))

    broadcast_to = expand

    def expand_as(self, other: Tensor) -> Tensor:
        """x broadcast to the shape of ``other``."""
        return self.expand(other.shape)

    def tile(self, *repetitions: Any) -> Tensor:
        """x repeated as a whole, ``repetitions[i]`` times along axis i."""
        return self.backend.namespace.tile(self, _integers("tile", repetitions))  # type: ignore[no-any-return]

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Consecutive parts of x along ``dim``, as in PyTorch.

        Args:
            split_size: the length of every part, of which the last may be shorter; or a list of lengths.
            dim: the axis.

        Raises:
            ValueError: a length is not positive, or the lengths do not add up to the length of the axis.
        """
        axis = _axis("split", dim, self.ndim)
        total = self.shape[axis]
        if isinstance(split_size, int):
            if split_size < 1:
                raise ValueError(f"split() expected a positive length, got {split_size}")
            lengths = [min(split_size, total - start) for start in range(0, total, split_size)] or [0]
        else:
            lengths = list(split_size)
            if sum(lengths) != total or min(lengths, default=0) < 0:
                raise ValueError(f"split() expected lengths that add up to {total}, the length of axis {dim}, got {lengths}")
        parts, start = [], 0
        for length in lengths:
            key = (slice(None),) * axis + (slice(start, start + length),) + (slice(None),) * (self.ndim - axis - 1)
            parts.append(self._as_view(self.backend.namespace.getitem(self, key)))
            start += length
        return tuple(parts)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most ``chunks`` parts of equal length along ``dim``, of which the last may be shorter, as in PyTorch."""
        if chunks < 1:
            raise ValueError(f"chunk() expected a positive number of parts, got {chunks}")
        return self.split(max(-(-self.shape[dim] // chunks), 1), dim)


def _integers(name: str, values: tuple[Any, ...]) -> tuple[int, ...]:
    """The arguments of a method that takes integers, or one tuple or list of integers."""
    if len(values) == 1 and isinstance(values[0], tuple | list):
        values = tuple(values[0])
    try:
        return tuple([value if type(value) is int else value.__index__() for value in values])
    except (AttributeError, TypeError):
        hint = "; use astype to convert to another dtype" if name == "view" else ""
        raise TypeError(f"{name}() expected integers or a tuple of integers, got {values!r}{hint}") from None


def _axis(name: str, axis: int, ndim: int) -> int:
    """A nonnegative axis. Raises ``IndexError`` if it is out of bounds."""
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}(): axis {axis} is out of bounds for a Tensor with {ndim} axes")
    return axis % ndim
