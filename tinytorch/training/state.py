"""All that a training step reads and writes, as one flat tuple of arrays, which is what a backend can compile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Self

from tinytorch.backend import Array

#: How many steps' results are kept on the device before the host reads them.
RING = 16


@dataclass
class TrainState:
    """Everything that changes from step to step.

    Attributes:
        parameters, buffers: the model's, in the order of ``Module.slots()``.
        optimizer: the optimizer's arrays.
        step: how many steps have been taken, int32 without dimensions.
        learning_rate: before the schedule, float32 without dimensions.
        key: the run's key for random bits, int32 of shape (1).
        ring: float32 of shape (RING, 3): loss, learning rate and gradient norm of recent steps, step n in row n % RING.
    """

    parameters: list[Array]
    buffers: list[Array]
    optimizer: list[Array]
    step: Array
    learning_rate: Array
    key: Array
    ring: Array

    def flatten(self) -> tuple[Array, ...]:
        """One tuple of arrays."""
        return (*self.parameters, *self.buffers, *self.optimizer, self.step, self.learning_rate, self.key, self.ring)

    def unflatten(self, flat: tuple[Array, ...]) -> Self:
        """A state of the same lengths with the arrays of a flat tuple."""
        first, second, third = accumulate((len(self.parameters), len(self.buffers), len(self.optimizer)))
        return type(self)(list(flat[:first]), list(flat[first:second]), list(flat[second:third]), *flat[third:])
