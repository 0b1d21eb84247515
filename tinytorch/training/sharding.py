"""Microbatches (one after another, to save memory) and shards (in parallel): which models support them, how many to use, and their sums."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tinytorch.backend import Array, Backend
from tinytorch.backend.shard import Shard
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor

#: Sums over the examples of a shard, such as the loss and the gradient of each parameter; ``None`` means zero.
Sums = list[Array | None]


def is_batch_independent(model: Module) -> bool:
    """Whether every module processes each example independently, so that batches can be sharded."""
    return all(module.batch_independent for module in model.modules())


def microbatches(batch_size: int, accumulate: int) -> list[Shard]:
    """``accumulate`` shards of equal size. Raises ValueError if ``accumulate`` does not divide ``batch_size``."""
    if not batch_size or batch_size % accumulate:
        raise ValueError(f"`accumulate` must divide the batch size, and {accumulate} does not divide {batch_size}")
    return Shard.whole(batch_size).split(accumulate)


def shard_count(backend: Backend, microbatch: Shard, batch: Sequence[Tensor], parameters: int) -> int:
    """Number of shards of a microbatch to run in parallel, at most one per example; ``parameters`` is the number of trained parameters."""
    terms = batch[-1].size * microbatch.size // microbatch.total
    return max(1, min(microbatch.size, backend.shard_count(terms, parameters)))


def add_sums(backend: Backend, terms: Sequence[Sums]) -> Sums:
    """Add the sums of several shards element by element, in the order of ``terms``."""
    if len(terms) == 1:
        return list(terms[0])
    columns = list(zip(*terms, strict=True))
    n = len(terms)
    # thread i adds columns i, i + n, i + 2n, ...: layers repeat, so this balances the work
    totals = backend.parallel([partial(_add_columns, columns[i::n]) for i in range(n)])
    return [totals[i % n][i // n] for i in range(len(columns))]


def _add_columns(columns: Sequence[Sequence[Array | None]]) -> Sums:
    totals = []
    for column in columns:
        total = None
        for term in column:
            total = term if total is None else total if term is None else total + term
        totals.append(total)
    return totals
