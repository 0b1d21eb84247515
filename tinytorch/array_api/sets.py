"""Distinct elements. What is repeated changes by jumps, so there is no derivative; `unique_all` gives indices to take the values at."""

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

_REASON = "elements become equal by jumps; take them from x at the indices that unique_all(x.detach()) gives, which is differentiable"


class UniqueAllResult(NamedTuple):
    """What `unique_all` finds; all but ``inverse_indices``, which has the shape of x, are of one length."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCountsResult(NamedTuple):
    """Distinct values and how often each is there."""

    values: Tensor
    counts: Tensor


class UniqueInverseResult(NamedTuple):
    """Distinct values and, in the shape of x, which of them each element is."""

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
    """The distinct elements of x."""
    return xp.unique_values(x)


for _found in (_unique_all, _unique_counts, _unique_inverse, unique_values):
    _found.__name__ = _found.__name__.lstrip("_")
    _found.no_derivative(_REASON)


def unique_all(x: Tensor, /) -> UniqueAllResult:
    """The distinct elements of x, where each is first, which of them each element is, and how often it is there."""
    return UniqueAllResult(*_unique_all(x))


def unique_counts(x: Tensor, /) -> UniqueCountsResult:
    """The distinct elements of x, and how often each is there."""
    return UniqueCountsResult(*_unique_counts(x))


def unique_inverse(x: Tensor, /) -> UniqueInverseResult:
    """The distinct elements of x, and which of them each element is."""
    return UniqueInverseResult(*_unique_inverse(x))
