"""The state of a training step: everything it reads and writes, as one flat tuple of arrays, which a backend can compile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from tinytorch.backend import Array
from tinytorch.nn.module import Module, Parameter, Slot
from tinytorch.optim import Optimizer

#: Number of steps whose metrics the device buffers until the host reads them.
METRICS_ROWS = 16


@dataclass(frozen=True)
class StateSlots:
    """The parameters and buffers that the arrays of a `TrainState` belong to.

    Attributes:
        trained: the parameters that steps update.
        constants: the model's other parameters, which keep their values.
        buffers: the model's persistent buffers.
        names: of all of them, as in ``state_dict``.
    """

    trained: list[Parameter]
    constants: list[Parameter]
    buffers: list[Slot]
    names: dict[Slot, str]

    @classmethod
    def of(cls, model: Module, optimizer: Optimizer) -> StateSlots:
        """The slots of a model whose optimizer holds the parameters to train; those with ``requires_grad = False`` are constants.

        Raises:
            ValueError: the optimizer holds a parameter that is not the model's, or all that it holds are frozen.
        """
        names: dict[Slot, str] = {slot: name for name, slot in model.slots().items()}
        foreign = sum(parameter not in names for parameter in optimizer.parameters)
        if foreign:
            raise ValueError(f"the optimizer holds {foreign} parameters that are not the model's; pass it those of model.parameters()")
        trained = [parameter for parameter in optimizer.parameters if parameter.requires_grad]
        if not trained:
            raise ValueError("there is nothing to train: every parameter of the optimizer has requires_grad = False")
        updated = set(trained)
        constants = [slot for slot in names if isinstance(slot, Parameter) and slot not in updated]
        return cls(trained, constants, [slot for slot in names if not isinstance(slot, Parameter)], names)


@dataclass
class TrainState:
    """Everything that changes from step to step, and the constants beside it.

    Attributes:
        parameters: the trained parameters.
        constants: the model's other parameters, which keep their values.
        buffers: the model's buffers.
        optimizer: the optimizer's arrays for the trained parameters.
        step: number of steps taken, a 0-d array of int32.
        learning_rate: before the schedule, a 0-d array of float32; of float64 for float64 parameters.
        key: the run's key for random bits, int32 of shape (1).
        scaling: float32 of shape (3): the loss scale, the number of steps without overflow since it last changed, and the number of
            skipped steps; see `tinytorch.training.scaling`.
        metrics: the metrics buffer, float32 of shape (METRICS_ROWS, 4): loss, learning rate, gradient norm, and 1 if skipped, of recent
            steps; step n is in row n % METRICS_ROWS.
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
        """One tuple of arrays."""
        arrays = (*self.parameters, *self.constants, *self.buffers, *self.optimizer)
        return (*arrays, self.step, self.learning_rate, self.key, self.scaling, self.metrics)

    def layout(self) -> Layout:
        """How to read a flat tuple of these arrays, or of those of a later step."""
        return Layout(len(self.parameters), len(self.constants), len(self.buffers), len(self.optimizer))


@dataclass(frozen=True)
class Layout:
    """The number of arrays of each kind in a state. It holds no array, so their memory is freed once a step has replaced them."""

    parameters: int
    constants: int
    buffers: int
    optimizer: int

    def unflatten(self, flat: tuple[Array, ...]) -> TrainState:
        """The state with the arrays of a flat tuple."""
        ends = list(accumulate((self.parameters, self.constants, self.buffers, self.optimizer)))
        lists = [list(flat[start:end]) for start, end in pairwise([0, *ends])]
        return TrainState(*lists, *flat[ends[-1] :])
