"""All that a training step reads and writes, as one flat tuple of arrays, which is what a backend can compile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from tinytorch.backend import Array

#: How many steps' results are kept on the device before the host reads them.
RING = 16


@dataclass
class TrainState:
    """Everything that changes from step to step.

    Attributes:
        parameters: those that are trained.
        constants: the model's other parameters, which keep their values.
        buffers: the model's.
        optimizer: the optimizer's arrays for the trained parameters.
        step: how many steps have been taken, a 0-d array of int32.
        learning_rate: before the schedule, a 0-d array of float32; of float64 for float64 parameters.
        key: the run's key for random bits, int32 of shape (1).
        scaling: float32 of shape (3): the loss scale, how many steps it has stood, and how many were skipped; see `scaling`.
        ring: float32 of shape (RING, 4): loss, learning rate, gradient norm, and 1 where it was skipped, of recent steps; step n is in row
            n % RING.
    """

    parameters: list[Array]
    constants: list[Array]
    buffers: list[Array]
    optimizer: list[Array]
    step: Array
    learning_rate: Array
    key: Array
    scaling: Array
    ring: Array

    def flatten(self) -> tuple[Array, ...]:
        """One tuple of arrays."""
        arrays = (*self.parameters, *self.constants, *self.buffers, *self.optimizer)
        return (*arrays, self.step, self.learning_rate, self.key, self.scaling, self.ring)

    def layout(self) -> Layout:
        """What a flat tuple of these arrays, or of those that take their places, is read with."""
        return Layout(len(self.parameters), len(self.constants), len(self.buffers), len(self.optimizer))


@dataclass(frozen=True)
class Layout:
    """How many arrays of each kind a state has. It holds none of them: their memory is free once a step has replaced them."""

    parameters: int
    constants: int
    buffers: int
    optimizer: int

    def unflatten(self, flat: tuple[Array, ...]) -> TrainState:
        """The state with the arrays of a flat tuple."""
        ends = list(accumulate((self.parameters, self.constants, self.buffers, self.optimizer)))
        lists = [list(flat[start:end]) for start, end in pairwise([0, *ends])]
        return TrainState(*lists, *flat[ends[-1] :])
