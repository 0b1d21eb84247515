"""All that a training step reads and writes, as one flat tuple of arrays, which is what a backend can compile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

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
        scaling: float32 of shape (3): the loss scale, how many steps it has stood, and how many were skipped; see `scaling`.
        ring: float32 of shape (RING, 4): loss, learning rate, gradient norm, and 1 where it was skipped, of recent steps; step n is in row
            n % RING.
    """

    parameters: list[Array]
    buffers: list[Array]
    optimizer: list[Array]
    step: Array
    learning_rate: Array
    key: Array
    scaling: Array
    ring: Array

    def flatten(self) -> tuple[Array, ...]:
        """One tuple of arrays."""
        return (*self.parameters, *self.buffers, *self.optimizer, self.step, self.learning_rate, self.key, self.scaling, self.ring)

    def layout(self) -> Layout:
        """What a flat tuple of these arrays, or of those that take their places, is read with."""
        return Layout(len(self.parameters), len(self.buffers), len(self.optimizer))


@dataclass(frozen=True)
class Layout:
    """How many arrays of each kind a state has. It holds none of them: their memory is free once a step has replaced them."""

    parameters: int
    buffers: int
    optimizer: int

    def unflatten(self, flat: tuple[Array, ...]) -> TrainState:
        """The state with the arrays of a flat tuple."""
        first, second, third = accumulate((self.parameters, self.buffers, self.optimizer))
        return TrainState(list(flat[:first]), list(flat[first:second]), list(flat[second:third]), *flat[third:])
