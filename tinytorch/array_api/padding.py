"""Padding, which is not in the standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from tinytorch.array_api.arithmetic import positive
from tinytorch.array_api.creation import arange, full
from tinytorch.array_api.indexing import setitem, take
from tinytorch.tensor import Tensor

__all__ = ["pad"]

#: As in numpy: one width for all sides, a pair (before, after) for all axes, or a pair for each axis.
PadWidth: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]]
PadMode: TypeAlias = Literal["constant", "edge", "reflect", "wrap"]


def pad(x: Tensor, /, pad_width: PadWidth, mode: PadMode = "constant", *, constant_values: complex = 0) -> Tensor:
    """x with elements added at the ends of its axes, as ``numpy.pad``; ``nn.functional.pad`` has the arguments of PyTorch.

    Args:
        x: any shape.
        pad_width: number of elements to add: an integer for all sides, a pair (before, after) for all axes, or a list with one pair for
            each axis.
        mode: ``"constant"``; ``"edge"``, the elements at the ends; ``"reflect"``, mirrored at the end elements, which are not repeated;
            or ``"wrap"``, the elements from the other end.
        constant_values: the added elements if ``mode`` is ``"constant"``.

    Returns:
        A Tensor of the dtype of x.

    Raises:
        ValueError: a width is negative or does not fit the axes, the mode is unknown, or an axis is too short for it.

    Example:
        >>> tt.pad(tt.asarray([1, 2, 3]), (1, 2))
        Tensor([0, 1, 2, 3, 0, 0], dtype=int64, device='numpy:cpu')
        >>> tt.pad(tt.asarray([1, 2, 3]), 2, mode="reflect")
        Tensor([3, 2, 1, 2, 3, 2, 1], dtype=int64, device='numpy:cpu')
    """
    widths = _pairs(pad_width, x.ndim)
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise ValueError(f"pad: `mode` must be 'constant', 'edge', 'reflect' or 'wrap', got {mode!r}")
    if mode == "constant":
        shape = tuple(before + n + after for n, (before, after) in zip(x.shape, widths, strict=True))
        inside = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, widths, strict=True))
        background = full(shape, constant_values, dtype=x.dtype, device=x.device)
        return setitem(background, inside, x)
    out = positive(x) if x.dtype.kind != "bool" and not any(map(any, widths)) else x
    for axis, (before, after) in enumerate(widths):
        if before or after:
            out = take(out, _positions(mode, x, axis, before, after), axis=axis)
    return out


def _pairs(pad_width: PadWidth, ndim: int) -> list[tuple[int, int]]:
    """A pair (before, after) for each axis."""
    widths: list[Any] = (
        [pad_width, pad_width] if isinstance(pad_width, int) else list(pad_width) if isinstance(pad_width, list | tuple) else []
    )
    if len(widths) == 2 and all(isinstance(width, int) for width in widths):
        widths = [tuple(widths)] * ndim
    pairs = [tuple(width) if isinstance(width, list | tuple) else () for width in widths]
    if len(pairs) == 1 and ndim > 1:
        pairs = pairs * ndim
    if len(pairs) != ndim or any(len(pair) != 2 or any(not isinstance(n, int) or n < 0 for n in pair) for pair in pairs):
        raise ValueError(
            f"pad: `pad_width` must be an integer, a pair (before, after), or {ndim} pairs, one for each axis, of integers of at least 0, "
            f"got {pad_width!r}; nn.functional.pad has the arguments of PyTorch"
        )
    return pairs


def _positions(mode: str, x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """For each element of the padded axis the position in x that it is read from."""
    length = x.shape[axis]
    if length == 0:
        raise ValueError(f"pad: axis {axis} of shape {x.shape} is empty, so mode={mode!r} has no elements to add; use mode='constant'")
    positions = arange(-before, length + after, device=x.device)
    if mode == "edge":
        return positions.backend.namespace.clip(positions, 0, length - 1)
    if mode == "wrap":
        return positions % length
    period = max(2 * (length - 1), 1)  # there and back
    positions = positions % period
    return positions.backend.namespace.where(positions < length, positions, period - positions)
