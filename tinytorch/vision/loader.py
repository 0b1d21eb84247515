"""Batches of images for training and evaluation. Runs on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.ops import random
from tinytorch.vision.images import ImageData

#: Images, uint8 (B, C, H, W), and labels, int64 (B).
Batch: TypeAlias = "tuple[NDArray[numpy.uint8], NDArray[numpy.int64]]"


class DataLoader:
    """Iterates over images in batches; one iteration is one epoch.

    Pass `next_batch` to `Trainer.fit`, and the loader itself to `Trainer.evaluate`. The order of each epoch is drawn by the numpy generator
    that `tinytorch.seed` seeds.

    Args:
        data: the images.
        batch_size: B, the number of images of a batch.
        shuffle: whether to shuffle the images in each epoch. Defaults to the order of the data.
        drop_last: whether to drop the last batch of an epoch if it is smaller than ``batch_size``.

    Raises:
        InputError: ``batch_size`` is not positive, or there are too few images for one batch.

    Example:
        >>> from tinytorch.vision import DataLoader, ImageData
        >>> data = ImageData(numpy.zeros((10, 1, 8, 8), dtype="uint8"), numpy.arange(10) % 2, ("even", "odd"), "black")
        >>> for images, labels in DataLoader(data, batch_size=4, drop_last=True):
        ...     print(images.shape, labels.tolist())
        (4, 1, 8, 8) [0, 1, 0, 1]
        (4, 1, 8, 8) [0, 1, 0, 1]
    """

    def __init__(self, data: ImageData, batch_size: int, shuffle: bool = False, drop_last: bool = False) -> None:
        if batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1, got {batch_size}")
        if len(data) < (batch_size if drop_last else 1):
            raise InputError(f"{len(data)} images of {data.name} are fewer than a batch of {batch_size}: use a smaller `batch_size`")
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self._order: NDArray[Any] | None = None  # of the current epoch of `next_batch`
        self._generator_state: dict[str, Any] | None = None  # before that order was drawn
        self._position = 0  # number of images of that order that `next_batch` has returned

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return len(self.data) // self.batch_size if self.drop_last else -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches of one epoch; the position of `next_batch` does not change."""
        order = self._draw(random.generator())
        return (self._cut(order, i * self.batch_size) for i in range(len(self)))

    def next_batch(self) -> Batch:
        """Return the next batch, starting a new epoch after each epoch; all batches have the same shape.

        Raises:
            ValueError: ``batch_size`` does not divide the number of images, and ``drop_last`` is false.
        """
        if not self.drop_last and len(self.data) % self.batch_size:
            raise ValueError(
                f"the number of images, {len(self.data)}, must be divisible by the batch size, {self.batch_size}, "
                "for batches of equal size: pass drop_last=True"
            )
        if self._order is None or self._position + self.batch_size > len(self.data):
            self._generator_state = random.get_state() if self.shuffle else None
            self._order = self._draw(random.generator())
            self._position = 0
        batch = self._cut(self._order, self._position)
        self._position += self.batch_size
        return batch

    def get_state(self) -> dict[str, Any]:
        """The state of `next_batch` as a dict that JSON can store: the generator's state before this epoch, and the position in it."""
        return {"images": len(self.data), "position": self._position, "generator": self._generator_state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a state of `get_state`; to repeat later epochs as well, also call `tinytorch.ops.random.set_state`.

        Raises:
            ValueError: the state has another number of images, or another value of ``shuffle``.
        """
        position, generator_state = state["position"], state["generator"]
        if state["images"] != len(self.data):
            raise ValueError(f"the state belongs to a loader of {state['images']} images, but this one has {len(self.data)}")
        if position and self.shuffle is (generator_state is None):
            raise ValueError(f"the state belongs to a loader with shuffle={not self.shuffle}, but this one has shuffle={self.shuffle}")
        source = numpy.random.default_rng()
        if generator_state is not None:
            source.bit_generator.state = generator_state
        self._order = self._draw(source) if position else None
        self._generator_state = generator_state
        self._position = position

    def _draw(self, generator: numpy.random.Generator) -> NDArray[Any]:
        """The order of the images in an epoch."""
        return generator.permutation(len(self.data)) if self.shuffle else numpy.arange(len(self.data))

    def _cut(self, order: NDArray[Any], start: int) -> Batch:
        indices = order[start : start + self.batch_size]
        return self.data.images[indices], self.data.labels[indices]
