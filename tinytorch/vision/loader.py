"""Batches of images for training and evaluation. A host module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.ops import random
from tinytorch.vision.images import ImageData

#: Images, uint8 (B, C, H, W), and labels, int64 (B).
Batch: TypeAlias = tuple[NDArray[numpy.uint8], NDArray[numpy.int64]]


class DataLoader:
    """Cuts images into batches; iterating over it gives each image once.

    For `Trainer.fit` pass `next_batch`, for `Trainer.evaluate` the loader itself. Both shuffle with the host generator that
    `tinytorch.seed` started, and draw one order for each epoch.

    Args:
        data: the images.
        batch_size: B.
        shuffle: whether each epoch has an order of its own, rather than that of the data.
        drop_last: whether to leave out what remains of an epoch when it is cut into whole batches, so that all have the same shape.

    Raises:
        InputError: there is no whole batch.
    """

    def __init__(self, data: ImageData, batch_size: int, shuffle: bool = False, drop_last: bool = False) -> None:
        if batch_size < 1:
            raise InputError(f"the batch size must be at least 1, and it is {batch_size}")
        if len(data) < (batch_size if drop_last else 1):
            raise InputError(f"{len(data)} images of {data.name} make no batch of {batch_size}: use a smaller batch size")
        self.data = data
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self._order: NDArray[Any] | None = None  # of the epoch that `next_batch` is in
        self._generator_state: dict[str, Any] | None = None  # before that order was drawn
        self._position = 0  # images of that order that were given out

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.data) // self.batch_size if self.drop_last else -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch, with an order of its own; `next_batch` stays where it is."""
        order = self._draw(random.generator())
        return (self._cut(order, i * self.batch_size) for i in range(len(self)))

    def next_batch(self) -> Batch:
        """The next batch, epoch after epoch without end, all of the same shape.

        Raises:
            ValueError: the last batch of an epoch would be smaller, and ``drop_last`` is false.
        """
        if not self.drop_last and len(self.data) % self.batch_size:
            raise ValueError(
                f"{len(self.data)} images do not divide into batches of {self.batch_size}, and training needs equal ones: "
                "pass drop_last=True"
            )
        if self._order is None or self._position + self.batch_size > len(self.data):
            self._generator_state = random.get_state() if self.shuffle else None
            self._order = self._draw(random.generator())
            self._position = 0
        batch = self._cut(self._order, self._position)
        self._position += self.batch_size
        return batch

    def get_state(self) -> dict[str, Any]:
        """Where `next_batch` is, as plain values that JSON can hold: the generator before this epoch, and the images given since."""
        return {"images": len(self.data), "position": self._position, "generator": self._generator_state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue as the loader that `get_state` was called on; call `tinytorch.ops.random.set_state` too for the same later epochs.

        Raises:
            ValueError: the state is that of other data, or of a loader that shuffles where this one does not.
        """
        position, generator_state = state["position"], state["generator"]
        if state["images"] != len(self.data):
            raise ValueError(f"the state belongs to a loader of {state['images']} images, and this one has {len(self.data)}")
        if position and self.shuffle is (generator_state is None):
            raise ValueError(f"the state belongs to a loader with shuffle={not self.shuffle}, and this one has shuffle={self.shuffle}")
        source = numpy.random.default_rng()
        if generator_state is not None:
            source.bit_generator.state = generator_state
        self._order = self._draw(source) if position else None
        self._generator_state = generator_state
        self._position = position

    def _draw(self, generator: numpy.random.Generator) -> NDArray[Any]:
        """The order of an epoch."""
        return generator.permutation(len(self.data)) if self.shuffle else numpy.arange(len(self.data))

    def _cut(self, order: NDArray[Any], start: int) -> Batch:
        places = order[start : start + self.batch_size]
        return self.data.images[places], self.data.labels[places]
