"""Unique elements. The functions have no derivative; take elements at the indices from `unique_all` to differentiate."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinytorch.autograd.operation import operation
from tinytorch.tensor import Tensor

__all__ = [
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]

_REASON = "the set of unique elements changes discontinuously; take elements of x at the indices from unique_all(x.detach()) instead"


class UniqueAllResult(NamedTuple):
    """Result of `unique_all`. ``inverse_indices`` has the shape of x; the other three have one element per unique value."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCountsResult(NamedTuple):
    """Result of `unique_counts`: the unique values and their counts."""

    values: Tensor
    counts: Tensor


class UniqueInverseResult(NamedTuple):
    """Result of `unique_inverse`: the unique values and, in the shape of x, the index of each element's value."""

    values: Tensor
    inverse_indices: Tensor


@operation
def _unique_all(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    return tuple(xp.unique_all(x))


@operation
def _unique_counts(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    return tuple(xp.unique_counts(x))


@operation
def _unique_inverse(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    return tuple(xp.unique_inverse(x))


@operation
def unique_values(xp: Any, x: Tensor, /) -> Tensor:
    """The unique elements of x.

    Example:
        >>> tt.unique_values(tt.asarray([3, 1, 3]))
        Tensor([1, 3], dtype=int64, device='numpy:cpu')
    """
    return xp.unique_values(x)


for _found in (_unique_all, _unique_counts, _unique_inverse, unique_values):
    _found.__name__ = _found.__name__.lstrip("_")
    _found.no_derivative(_REASON)


def unique_all(x: Tensor, /) -> UniqueAllResult:
    """The unique elements of x, their first indices, the inverse indices and the counts.

    Example:
        >>> values, indices, inverse, counts = tt.unique_all(tt.asarray([3, 1, 3]))
        >>> counts
        Tensor([1, 2], dtype=int64, device='numpy:cpu')
    """
    return UniqueAllResult(*_unique_all(x))


def unique_counts(x: Tensor, /) -> UniqueCountsResult:
    """The unique elements of x and their counts.

    Example:
        >>> values, counts = tt.unique_counts(tt.asarray([3, 1, 3]))
        >>> counts
        Tensor([1, 2], dtype=int64, device='numpy:cpu')
    """
    return UniqueCountsResult(*_unique_counts(x))


def unique_inverse(x: Tensor, /) -> UniqueInverseResult:
    """The unique elements of x and the indices that reconstruct x from them.

    Example:
        >>> values, inverse = tt.unique_inverse(tt.asarray([3, 1, 3]))
        >>> values[inverse]
        Tensor([3, 1, 3], dtype=int64, device='numpy:cpu')
    """
    return UniqueInverseResult(*_unique_inverse(x))
