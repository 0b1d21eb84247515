"""Runs compiled training steps: holds their state on the device, and copies it to the model and the optimizer between steps."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tinytorch.array_api import all, isfinite, stack
from tinytorch.backend import Array, Backend
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module, Parameter, own_value
from tinytorch.nn.precision import Precision
from tinytorch.optim import Optimizer
from tinytorch.optim.optimizer import learning_rate_dtype, scalar
from tinytorch.tensor import wrap
from tinytorch.training.state import METRICS_ROWS, StateSlots, TrainState
from tinytorch.training.step import Predict, make_step


class DivergedError(RuntimeError):
    """Raised if the loss, the gradient or a parameter is not finite."""


@dataclass(frozen=True)
class StepRecord:
    """Metrics of one training step.

    Attributes:
        step: step number, from 1.
        train_loss: mean loss of the batch, before the update.
        learning_rate: learning rate of the step, after the schedule.
        gradient_norm: norm of the gradient before clipping; ``None`` if the gradient overflowed float16 and the step was skipped.
        seconds: wall-clock time per step, averaged over the steps that were read from the device together.

    Example:
        >>> from tinytorch.training import Trainer
        >>> model = nn.Linear(2, 1)
        >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
        >>> batch = numpy.ones((4, 2), "float32"), numpy.ones((4, 1), "float32")
        >>> [(record.step, record.learning_rate) for record in trainer.fit(lambda: batch, steps=2)]
        [(1, 0.1...), (2, 0.1...)]
    """

    step: int
    train_loss: float
    learning_rate: float
    gradient_norm: float | None
    seconds: float


class Engine:
    """Runs training steps on copies of the arrays of a model and an optimizer; `publish` copies the results back.

    The device writes the metrics of each step to a buffer of `METRICS_ROWS` rows. `read` copies the whole buffer to the CPU, so that
    the CPU does not wait for the device at every step.

    Args:
        model: the model; must be in training mode.
        optimizer: holds the parameters to train.
        predict: computes the model's outputs for a batch.
        loss_fn: compares outputs with targets.
        precision: precision of the computations in a step.
        accumulate: number of microbatches per batch.
        scaling: state of the loss scaling for float16, see `TrainState`.
        key: seed of the random numbers in training steps (dropout).

    Attributes:
        state: the flattened `TrainState`.

    Raises:
        ValueError: if the optimizer holds a parameter that does not belong to the model, or all its parameters are frozen.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        predict: Predict,
        loss_fn: Loss,
        precision: Precision,
        accumulate: int,
        scaling: Sequence[float],
        key: int,
    ) -> None:
        self._optimizer, self._precision = optimizer, precision
        self._backend = backend = precision.backend
        self._slots = slots = StateSlots.of(model, optimizer)
        self._scaling = [*scaling[:2], float(optimizer.skipped)]  # the optimizer may have been trained in float16 elsewhere
        self._unused: set[Parameter] = set()  # parameters that the loss does not depend on; filled when the step runs
        with ignore_overflow_warnings():  # the learning rate may overflow float32
            state = TrainState(  # copies, since the state is donated to each step
                _copies(backend, [parameter.raw for parameter in slots.trained]),
                _copies(backend, [parameter.raw for parameter in slots.constants]),
                _copies(backend, [own_value(slot).raw for slot in slots.buffers]),
                _copies(backend, optimizer.state_arrays(slots.trained)),
                scalar(backend, optimizer.steps, "int32"),
                scalar(backend, optimizer.lr, learning_rate_dtype(slots.trained)),
                scalar(backend, [key], "int32"),
                scalar(backend, self._scaling, "float32"),
                backend.xp.zeros((METRICS_ROWS, 4), dtype=backend.dtype("float32")),
            )
        self._layout, self.state = state.layout(), state.flatten()
        step = make_step(model, slots, predict, loss_fn, optimizer, precision, self._layout, accumulate, self._unused)
        self._compiled = backend.compile(step, donate=True)
        self._taken = self._read = optimizer.steps
        self._since = time.perf_counter()

    @property
    def full(self) -> bool:
        """Whether the metrics buffer is full, so that `read` must be called before the next step."""
        return self._taken - self._read == METRICS_ROWS

    def step(self, batch: tuple[Array, ...]) -> None:
        """Run one step. The device may still be computing when this returns."""
        with ignore_overflow_warnings():
            self.state, _ = self._compiled(self.state, batch)
        self._taken += 1

    def read(self) -> list[StepRecord]:
        """Wait for the device and return the records of the steps since the last call, up to the first that is not finite."""
        rows = self._backend.to_host(self._layout.unflatten(self.state).metrics)
        seconds = (time.perf_counter() - self._since) / (self._taken - self._read)
        records: list[StepRecord] = []
        for number in range(self._read + 1, self._taken + 1):
            loss, rate, norm, skipped = (float(value) for value in rows[number % METRICS_ROWS])
            if _first_not_finite(loss, rate, 0.0 if skipped else norm) is not None:
                break
            records.append(StepRecord(number, loss, rate, None if skipped else norm, seconds))
        return records

    def publish(self, records: Sequence[StepRecord]) -> list[float]:
        """Copy the arrays of the last step to the model and the optimizer. Copies, since the next step may overwrite the originals.

        Args:
            records: the result of `read`.

        Returns:
            The new state of the loss scaling.

        Raises:
            DivergedError: if a step or a parameter is not finite. Model and optimizer then stay unchanged.
        """
        state = self._layout.unflatten(self.state)
        self._check_finite(state, self._read + len(records))
        backend, optimizer, trained = self._backend, self._optimizer, self._slots.trained
        for slot, raw in zip([*trained, *self._slots.buffers], [*state.parameters, *state.buffers], strict=True):
            own_value(slot).raw = _copy(backend, raw)  # one at a time: the old array is freed before the next copy
        used = [parameter for parameter in trained if parameter not in self._unused]
        parameters = [parameter for _ in optimizer.slots() for parameter in trained]
        arrays = (_copy(backend, raw) for p, raw in zip(parameters, state.optimizer, strict=True) if p not in self._unused)
        if self._precision.scaled:
            self._scaling = [float(value) for value in backend.to_host(state.scaling)]
        optimizer.store_state(used, arrays, int(backend.to_host(state.step)) - optimizer.steps, int(self._scaling[2]) - optimizer.skipped)
        return self._scaling

    def resume(self) -> None:
        """Restart the clock, so that the time between `publish` and the next step is not counted as step time."""
        self._read, self._since = self._taken, time.perf_counter()

    def _check_finite(self, state: TrainState, last_finite: int) -> None:
        """Raise `DivergedError` if steps after ``last_finite`` were taken, or a parameter or buffer is not finite."""
        advice = f"is not finite; use a learning rate smaller than {self._optimizer.lr:g}"
        if last_finite < self._taken:
            row = [float(value) for value in self._backend.to_host(state.metrics)[(last_finite + 1) % METRICS_ROWS, :3]]
            raise DivergedError(f"the {_first_not_finite(*row)} of step {last_finite + 1} {advice}")
        slots = [*self._slots.trained, *self._slots.buffers]
        tensors = [wrap(raw, self._backend) for raw in (*state.parameters, *state.buffers)]
        floating = [(self._slots.names[s], tensor) for s, tensor in zip(slots, tensors, strict=True) if tensor.dtype.is_floating]
        finite = stack([all(isfinite(tensor)) for _, tensor in floating]).numpy()  # one device read for all
        if not finite.all():
            raise DivergedError(f"after step {self._taken} an element of {floating[int(finite.argmin())][0]} {advice}")


def _first_not_finite(loss: float, rate: float, norm: float) -> str | None:
    """The name of the first metric that is not finite, or None."""
    named = {"loss": loss, "learning rate": rate, "gradient": norm}
    return next((name for name, value in named.items() if not math.isfinite(value)), None)


def _copy(backend: Backend, array: Array) -> Array:
    return backend.xp.asarray(array, copy=True)


def _copies(backend: Backend, arrays: Iterable[Array]) -> list[Array]:
    return [_copy(backend, array) for array in arrays]


@contextmanager
def ignore_overflow_warnings() -> Iterator[None]:
    """Silence RuntimeWarnings of the array library about overflow; the engine checks for values that are not finite itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
