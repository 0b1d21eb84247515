"""Splitting along an axis, which is not in the standard; `concat` is the inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never

from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = ["split"]


@operation(saves=Saves.NOTHING)
def _split(xp: Any, x: Tensor, /, *, sizes: tuple[int, ...], axis: int) -> tuple[Tensor, ...]:
    parts, start = [], 0
    for size in sizes:
        parts.append(x[tuple(slice(start, start + size) if i == axis else slice(None) for i in range(x.ndim))])
        start += size
    return tuple(parts)


_split.__name__ = "split"


def _split_rule(xp: Any, g: dict[int, Any], out: Any, x: Any, sizes: tuple[int, ...], axis: int) -> Any:
    dtype = next(iter(g.values())).dtype

    def shape(size: int) -> tuple[int, ...]:
        return tuple(size if i == axis else n for i, n in enumerate(x.shape))

    return xp.concat([g[i] if i in g else xp.zeros(shape(size), dtype=dtype) for i, size in enumerate(sizes)], axis=axis)


_split.derivatives(x=_split_rule)


def split(
    x: Tensor, /, *unnamed: Never, sections: int | None = None, sizes: int | Sequence[int] | None = None, axis: int = 0
) -> tuple[Tensor, ...]:
    """The parts of x along ``axis``: either ``sections`` equal parts, or parts of the given ``sizes``.

    The argument must be named, since ``numpy.split(x, 2)`` gives two parts and ``torch.split(x, 2)`` parts of size two.

    Args:
        x: at least 1-d.
        sections: number of equal parts; must divide the axis.
        sizes: the size of each part; an integer for parts of this size, of which the last may be smaller.
        axis: the axis to split.

    Raises:
        TypeError: not exactly one of ``sections`` and ``sizes`` is given.
        ValueError: they do not fit the axis.

    Example:
        >>> [part.tolist() for part in tt.split(tt.asarray([1, 2, 3, 4]), sections=2)]
        [[1, 2], [3, 4]]
        >>> [part.tolist() for part in tt.split(tt.asarray([1, 2, 3, 4]), sizes=[1, 3])]
        [[1], [2, 3, 4]]
    """
    if unnamed:
        raise TypeError(
            f"split: write sections={unnamed[0]!r} for that many equal parts, as in numpy, or sizes={unnamed[0]!r} for parts of that size, "
            f"as in PyTorch"
        )
    if (sections is None) == (sizes is None):
        raise TypeError("split expected either `sections`, the number of equal parts, or `sizes`, the size of each part")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"split: a Tensor of shape {x.shape} has no axis {axis}")
    axis %= x.ndim
    return _split(x, sizes=_sizes(x.shape[axis], sections, sizes), axis=axis)


def _sizes(length: int, sections: int | None, sizes: int | Sequence[int] | None) -> tuple[int, ...]:
    """The size of each part of an axis."""
    if sections is not None:
        if sections < 1 or length % sections:
            raise ValueError(f"split: `sections` must divide the axis, of size {length}, got {sections}; use sizes= for unequal parts")
        return (length // sections,) * sections
    if isinstance(sizes, int):
        if sizes < 1:
            raise ValueError(f"split: `sizes` must be at least 1, got {sizes}")
        return (*[sizes] * (length // sizes), *([length % sizes] if length % sizes or not length else []))
    each = tuple(sizes or ())
    if any(size < 0 for size in each) or sum(each) != length:
        raise ValueError(f"split: `sizes` must be at least 0 and add up to the size of the axis, {length}, got {list(each)}")
    return each
