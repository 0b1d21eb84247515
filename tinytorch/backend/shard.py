"""Shard: the consecutive examples of a batch that one thread or process computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from tinytorch.backend.contract import Array

ArrayT = TypeVar("ArrayT", bound=Array)


@dataclass(frozen=True)
class Shard:
    """The examples ``offset`` to ``offset + size - 1`` of a batch of ``total``. A microbatch is a shard too.

    Steps on all shards of a batch give the same result as one step on the batch: each shard uses the random bits that the whole batch
    uses for these examples, and divides its loss and gradient by the count of the whole batch, so that those of the shards can be summed.

    Attributes:
        offset: index of the first example in the batch.
        size: number of examples.
        total: number of examples in the batch.
    """

    offset: int
    size: int
    total: int

    @classmethod
    def whole(cls, total: int) -> Shard:
        """All ``total`` examples of a batch."""
        return cls(0, total, total)

    def split(self, n: int) -> list[Shard]:
        """Split into ``n`` consecutive shards of nearly equal size; each can be split again.

        Raises:
            ValueError: there are fewer than ``n`` examples.
        """
        if not 1 <= n <= self.size:
            raise ValueError(f"{self.size} examples cannot be split into {n} shards; use 1 to {self.size}")
        bounds = [self.offset + rank * self.size // n for rank in range(n + 1)]
        return [Shard(start, stop - start, self.total) for start, stop in pairwise(bounds)]

    def take(self, batch: Sequence[ArrayT]) -> tuple[ArrayT, ...]:
        """The examples of the shard: rows ``offset`` to ``offset + size - 1`` of each array (total, ...) of the batch."""
        if self.size == self.total:
            return tuple(batch)
        return tuple(array[self.offset : self.offset + self.size, ...] for array in batch)

    def scale(self, size: int) -> Shard:
        """This shard in units of values. Every example has equally many values, and the examples of this shard have ``size`` together."""
        return Shard(self.offset * size // self.size, size, self.total * size // self.size)
