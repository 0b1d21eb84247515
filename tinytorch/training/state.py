"""The state of training: all arrays that a step reads and writes, as one flat tuple, so that a backend can compile the step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from tinytorch.backend import Array
from tinytorch.nn.module import Module, Parameter, Slot
from tinytorch.optim import Optimizer

#: Number of steps whose metrics the device buffers before they are copied to the CPU.
METRICS_ROWS = 16


@dataclass(frozen=True)
class StateSlots:
    """The parameters and buffers that the arrays of a `TrainState` belong to.

    Attributes:
        trained: the parameters that steps update.
        constants: the model's other parameters, which are not updated.
        buffers: the model's persistent buffers.
        names: the names of all of them, as in ``state_dict``.
    """

    trained: list[Parameter]
    constants: list[Parameter]
    buffers: list[Slot]
    names: dict[Slot, str]

    @classmethod
    def of(cls, model: Module, optimizer: Optimizer) -> StateSlots:
        """Find the slots of a model. The trained parameters are those of the optimizer, except those with ``requires_grad = False``.

        Raises:
            ValueError: if the optimizer holds a parameter that does not belong to the model, or all its parameters are frozen.
        """
        names: dict[Slot, str] = {slot: name for name, slot in model.slots().items()}
        foreign = sum(parameter not in names for parameter in optimizer.parameters)
        if foreign:
            raise ValueError(
                f"the optimizer holds {foreign} parameters that do not belong to the model; pass it parameters from model.parameters()"
            )
        trained = [parameter for parameter in optimizer.parameters if parameter.requires_grad]
        if not trained:
            raise ValueError("there is nothing to train: all parameters of the optimizer have requires_grad = False")
        updated = set(trained)
        constants = [slot for slot in names if isinstance(slot, Parameter) and slot not in updated]
        return cls(trained, constants, [slot for slot in names if not isinstance(slot, Parameter)], names)


@dataclass
class TrainState:
    """All arrays that a step reads and writes.

    Attributes:
        parameters: the trained parameters.
        constants: the model's other parameters, which are not updated.
        buffers: the model's buffers.
        optimizer: the optimizer's arrays for the trained parameters.
        step: number of steps taken, a 0-d array of int32.
        learning_rate: the learning rate before the schedule, a 0-d array of float32, or of float64 for float64 parameters.
        key: the seed of the random numbers in training steps, int32 of shape (1).
        scaling: float32 of shape (3): the loss scale, the number of steps without overflow since it last changed, and the number of
            skipped steps; see `tinytorch.training.scaling`.
        metrics: the metrics buffer, float32 of shape (METRICS_ROWS, 4). Step n is in row n % METRICS_ROWS. The columns are loss,
            learning rate, gradient norm, and 1 if the step was skipped.
    """

    parameters: list[Array]
    constants: list[Array]
    buffers: list[Array]
    optimizer: list[Array]
    step: Array
    learning_rate: Array
    key: Array
    scaling: Array
    metrics: Array

    def flatten(self) -> tuple[Array, ...]:
        """All arrays as one tuple."""
        arrays = (*self.parameters, *self.constants, *self.buffers, *self.optimizer)
        return (*arrays, self.step, self.learning_rate, self.key, self.scaling, self.metrics)

    def layout(self) -> Layout:
        """The layout of the flat tuple, which is the same for all steps."""
        return Layout(len(self.parameters), len(self.constants), len(self.buffers), len(self.optimizer))


@dataclass(frozen=True)
class Layout:
    """The number of arrays of each kind in a state. It holds no arrays, so that it does not keep their memory alive."""

    parameters: int
    constants: int
    buffers: int
    optimizer: int

    def unflatten(self, flat: tuple[Array, ...]) -> TrainState:
        """The state from a flat tuple of arrays."""
        ends = list(accumulate((self.parameters, self.constants, self.buffers, self.optimizer)))
        lists = [list(flat[start:end]) for start, end in pairwise([0, *ends])]
        return TrainState(*lists, *flat[ends[-1] :])
