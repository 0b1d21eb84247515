"""The data loader: epochs, the global seed, and resuming."""

from __future__ import annotations

import json
from itertools import chain, pairwise

import numpy
import pytest

import tinytorch as tt
from tinytorch.io.errors import InputError
from tinytorch.ops import random
from tinytorch.vision import Batch, DataLoader, ImageData


def numbered(n: int) -> ImageData:
    """n images of one pixel, whose value is the index of the image, and whose label is the index modulo 10."""
    numbers = numpy.arange(n)
    return ImageData(numbers.astype(numpy.uint8).reshape(-1, 1, 1, 1), numbers % 10, tuple("0123456789"), "numbers")


def numbers(batch: Batch) -> list[int]:
    images, labels = batch
    found: list[int] = images.reshape(-1).tolist()
    assert labels.tolist() == [number % 10 for number in found]
    return found


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_has_every_image_once(shuffle: bool) -> None:
    loader = DataLoader(numbered(10), 4, shuffle=shuffle)
    epoch = [numbers(batch) for batch in loader]
    assert [len(batch) for batch in epoch] == [4, 4, 2]
    assert len(loader) == 3
    assert sorted(chain(*epoch)) == list(range(10))


def test_without_shuffling_the_order_is_that_of_the_data() -> None:
    assert [numbers(batch) for batch in DataLoader(numbered(5), 2)] == [[0, 1], [2, 3], [4]]


def test_drop_last_drops_an_incomplete_batch() -> None:
    loader = DataLoader(numbered(10), 4, drop_last=True)
    assert [numbers(batch) for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader) == 2


def test_batches_are_copies_with_uint8_images_and_int64_labels() -> None:
    data = numbered(4)
    images, labels = next(iter(DataLoader(data, 2)))
    assert (images.dtype, labels.dtype) == (numpy.uint8, numpy.int64)
    assert (images.shape, labels.shape) == ((2, 1, 1, 1), (2,))
    images[...] = 9
    assert data.images[0, 0, 0, 0] == 0


def test_next_batch_starts_a_new_epoch_after_each_epoch() -> None:
    loader = DataLoader(numbered(6), 2, shuffle=True)
    epochs = [list(chain(*(numbers(loader.next_batch()) for _ in range(3)))) for _ in range(5)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert any(a != b for a, b in pairwise(epochs))


def test_next_batch_drops_an_incomplete_batch_and_starts_a_new_epoch() -> None:
    loader = DataLoader(numbered(5), 2, drop_last=True)
    assert [numbers(loader.next_batch()) for _ in range(4)] == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_next_batch_raises_if_the_last_batch_would_be_smaller() -> None:
    with pytest.raises(ValueError, match=r"the number of images, 5, must be divisible by the batch size, 2.*drop_last=True"):
        DataLoader(numbered(5), 2).next_batch()


def test_the_order_depends_on_the_global_seed() -> None:
    def draw(seed: int) -> list[int]:
        tt.seed(seed)
        return numbers(DataLoader(numbered(50), 50, shuffle=True).next_batch())

    assert draw(1) == draw(1) != draw(2)


def test_iterating_does_not_change_the_position_of_next_batch() -> None:
    loader = DataLoader(numbered(4), 2)
    assert numbers(loader.next_batch()) == [0, 1]
    assert len(list(loader)) == 2
    assert numbers(loader.next_batch()) == [2, 3]


@pytest.mark.parametrize("taken", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_restored_loader_continues_with_the_same_batches(taken: int, shuffle: bool) -> None:
    tt.seed(5)
    loader = DataLoader(numbered(11), 3, shuffle=shuffle, drop_last=True)
    for _ in range(taken):
        loader.next_batch()
    random.generator().random(3)  # other draws between the epoch's start and the checkpoint
    saved = json.loads(json.dumps({"loader": loader.get_state(), "random": random.get_state()}))
    expected = [numbers(loader.next_batch()) for _ in range(8)]
    tt.seed(99)
    resumed = DataLoader(numbered(11), 3, shuffle=shuffle, drop_last=True)
    resumed.set_state(saved["loader"])
    random.set_state(saved["random"])
    assert resumed.get_state() == saved["loader"]
    assert [numbers(resumed.next_batch()) for _ in range(8)] == expected


def test_set_state_does_not_draw_from_the_global_generator() -> None:
    loader = DataLoader(numbered(6), 2, shuffle=True)
    loader.next_batch()
    before = random.get_state()
    loader.set_state(loader.get_state())
    assert random.get_state() == before


def test_the_state_of_a_different_loader_raises() -> None:
    loader = DataLoader(numbered(6), 2, shuffle=True)
    loader.next_batch()
    with pytest.raises(ValueError, match="a loader of 6 images, but this one has 8"):
        DataLoader(numbered(8), 2, shuffle=True).set_state(loader.get_state())
    with pytest.raises(ValueError, match="with shuffle=True, but this one has shuffle=False"):
        DataLoader(numbered(6), 2).set_state(loader.get_state())


@pytest.mark.parametrize(("n", "size", "drop_last"), [(0, 1, False), (3, 4, True)])
def test_too_few_images_for_a_batch_raise(n: int, size: int, drop_last: bool) -> None:
    with pytest.raises(InputError, match=f"{n} images of numbers are fewer than a batch of {size}"):
        DataLoader(numbered(n), size, drop_last=drop_last)


def test_a_batch_size_of_zero_raises() -> None:
    with pytest.raises(InputError, match="`batch_size` must be at least 1, got 0"):
        DataLoader(numbered(3), 0)
