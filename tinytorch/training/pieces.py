"""A batch cut into pieces that a backend works on at once, and the sum of what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from tinytorch.backend import Array, Backend
from tinytorch.nn.module import Module
from tinytorch.ops.random import Share
from tinytorch.tensor import Tensor

#: Some entries of a batch, and which they are; ``None`` for all of them.
Piece = tuple[tuple[Tensor, ...], Share | None]


def is_batch_independent(model: Module) -> bool:
    """Whether entries of a batch depend on each other nowhere in the model, so that it may be cut."""
    return all(module.batch_independent for module in model.modules())


def piece_count(backend: Backend, batch: Sequence[Tensor], numbers: int) -> int:
    """How many pieces to cut a batch into for an batch_independent model that learns so many ``numbers``."""
    entries = batch[0].shape[0]
    return max(1, min(entries, backend.lanes(batch[-1].size, numbers)))


def cut(batch: Sequence[Tensor], n: int) -> list[Piece]:
    """The batch in ``n`` pieces of nearly equal size."""
    if n == 1:
        return [(tuple(batch), None)]
    whole = batch[0].shape[0]
    places = [i * whole // n for i in range(n + 1)]
    return [(tuple(tensor[start:stop, ...] for tensor in batch), Share(start, stop - start, whole)) for start, stop in pairwise(places)]


def summed(backend: Backend, terms: Sequence[Sequence[Array | None]]) -> list[Array | None]:
    """The sum of lists of arrays, place by place, in the order of the lists; ``None`` stands for zero."""
    if len(terms) == 1:
        return list(terms[0])
    columns = list(zip(*terms, strict=True))
    # every lane takes every n-th: layers repeat, so these are about as much work
    n = len(terms)
    lanes = backend.parallel([partial(_sums, columns[lane::n]) for lane in range(n)])
    return [lanes[i % n][i // n] for i in range(len(columns))]


def _sums(columns: Sequence[Sequence[Array | None]]) -> list[Array | None]:
    totals = []
    for column in columns:
        total = None
        for term in column:
            total = term if total is None else total if term is None else total + term
        totals.append(total)
    return totals
