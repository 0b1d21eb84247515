"""Shards of a batch: which examples each rank gets."""

from __future__ import annotations

import numpy
import pytest

from tinytorch.backend.shard import Shard


@pytest.mark.parametrize("total", [1, 2, 5, 12])
def test_every_example_is_in_one_shard(total: int) -> None:
    examples = numpy.arange(total)
    for n in range(1, total + 1):
        shards = Shard.whole(total).split(n)
        assert [i for shard in shards for i in shard.take([examples])[0]] == list(examples)
        assert max(shard.size for shard in shards) - min(shard.size for shard in shards) <= 1


def test_a_shard_has_its_offset_in_the_batch() -> None:
    assert Shard.whole(5).split(2) == [Shard(offset=0, size=2, total=5), Shard(offset=2, size=3, total=5)]


def test_a_shard_is_split_again_into_shards_of_the_same_batch() -> None:
    """Each process splits the shard of its rank over its threads."""
    rank, threads = 1, 2
    assert Shard.whole(12).split(3)[rank].split(threads) == [Shard(4, 2, 12), Shard(6, 2, 12)]


def test_take_returns_the_rows_of_the_shard_of_every_array() -> None:
    inputs, targets = numpy.arange(10).reshape(5, 2), numpy.arange(5)
    taken = Shard(2, 3, 5).take((inputs, targets))
    assert [array.tolist() for array in taken] == [[[4, 5], [6, 7], [8, 9]], [2, 3, 4]]


def test_scale_counts_values_instead_of_examples() -> None:
    assert Shard(offset=2, size=3, total=5).scale(30) == Shard(offset=20, size=30, total=50)  # 10 values per example


@pytest.mark.parametrize("n", [0, 4])
def test_more_shards_than_examples_raise(n: int) -> None:
    with pytest.raises(ValueError, match=f"3 examples cannot be split into {n} shards; use 1 to 3"):
        Shard.whole(3).split(n)
