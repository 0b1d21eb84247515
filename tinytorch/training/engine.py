"""The loop's machinery: a step's state on the device, the compiled step, and what the host reads of it between steps."""

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
    """The loss or a parameter is no longer a finite number."""


@dataclass(frozen=True)
class StepRecord:
    """What is known of one step.

    Attributes:
        step: its number, counting from 1.
        train_loss: mean loss of its batch, before the update.
        learning_rate: as used, after the schedule.
        gradient_norm: norm of the gradient before clipping; ``None`` where it overflowed float16 and the step was skipped.
        seconds: its share of the wall-clock time since the device was last read.
    """

    step: int
    train_loss: float
    learning_rate: float
    gradient_norm: float | None
    seconds: float


class Engine:
    """Takes steps on copies of a model's and an optimizer's arrays, and publishes them to both when told to.

    The device writes the metrics of each step to a buffer of `METRICS_ROWS` rows. `read` copies it to the host, which never waits for a
    single step.

    Args:
        model: in training mode while steps are taken.
        optimizer: holds the parameters to train.
        predict: the model's outputs for a batch.
        loss_fn: compares them with the targets.
        precision: what steps compute in.
        accumulate: microbatches in a batch.
        scaling: the loss scale of float16 and its history, as in `TrainState`.
        key: the key for random bits within steps.

    Attributes:
        state: the arrays of `TrainState`, flat.

    Raises:
        ValueError: the optimizer holds a parameter that is not the model's, or all that it holds are frozen.
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
        self._unused: set[Parameter] = set()  # parameters that the loss does not depend on; a step adds to it
        with unwarned():  # a learning rate may be too large for float32
            state = TrainState(  # copies, as each step's state is donated to it
                _copies(backend, [parameter.raw for parameter in slots.trained]),
                _copies(backend, [parameter.raw for parameter in slots.constants]),
                _copies(backend, [own_value(slot).raw for slot in slots.buffers]),
                _copies(backend, optimizer.state_arrays(slots.trained)),
                scalar(backend, optimizer.steps, "int32"),
                scalar(backend, optimizer.lr, learning_rate_dtype(slots.trained)),
                scalar(backend, [key], "int32"),
                scalar(backend, scaling, "float32"),
                backend.xp.zeros((METRICS_ROWS, 4), dtype=backend.dtype("float32")),
            )
        self._layout, self.state = state.layout(), state.flatten()
        step = make_step(model, slots, predict, loss_fn, optimizer, precision, self._layout, accumulate, self._unused)
        self._compiled = backend.compile(step, donate=True)
        self._scaling = list(scaling)
        self._taken = self._read = optimizer.steps
        self._since = time.perf_counter()

    @property
    def full(self) -> bool:
        """Whether `read` is due, before the next step overwrites a row of the metrics buffer."""
        return self._taken - self._read == METRICS_ROWS

    def step(self, batch: tuple[Array, ...]) -> None:
        """Take a step, which the device may not have finished when this returns."""
        with unwarned():
            self.state, _ = self._compiled(self.state, batch)
        self._taken += 1

    def read(self) -> list[StepRecord]:
        """Wait for the device; returns the steps since the last call, up to the first that is not finite."""
        rows = self._backend.to_host(self._layout.unflatten(self.state).metrics)
        share = (time.perf_counter() - self._since) / (self._taken - self._read)
        records: list[StepRecord] = []
        for number in range(self._read + 1, self._taken + 1):
            loss, rate, norm, skipped = (float(value) for value in rows[number % METRICS_ROWS])
            if _first_not_finite(loss, rate, 0.0 if skipped else norm) is not None:
                break
            records.append(StepRecord(number, loss, rate, None if skipped else norm, share))
        return records

    def publish(self, records: Sequence[StepRecord]) -> list[float]:
        """Give model and optimizer the arrays of the last step: copies, since the next step may overwrite its own.

        Args:
            records: what `read` returned.

        Returns:
            The loss scale and its history.

        Raises:
            DivergedError: a step or a parameter is not finite; model and optimizer stay as they were.
        """
        state = self._layout.unflatten(self.state)
        self._check_finite(state, self._read + len(records))
        backend, optimizer, trained = self._backend, self._optimizer, self._slots.trained
        for slot, raw in zip([*trained, *self._slots.buffers], [*state.parameters, *state.buffers], strict=True):
            own_value(slot).raw = _copy(backend, raw)  # one by one: the old array is freed before the next copy
        used = [parameter for parameter in trained if parameter not in self._unused]
        owners = [parameter for _ in optimizer.slots() for parameter in trained]
        arrays = (_copy(backend, raw) for owner, raw in zip(owners, state.optimizer, strict=True) if owner not in self._unused)
        if self._precision.scaled:
            self._scaling = [float(value) for value in backend.to_host(state.scaling)]
        optimizer.store_state(used, arrays, int(backend.to_host(state.step)) - optimizer.steps, int(self._scaling[2]) - optimizer.skipped)
        return self._scaling

    def resume(self) -> None:
        """Measure time from here: what came between `publish` and the next step is not the step's."""
        self._read, self._since = self._taken, time.perf_counter()

    def _check_finite(self, state: TrainState, good: int) -> None:
        """Raise `DivergedError` if only the steps up to ``good`` have a finite loss and gradient, or the model is not finite."""
        advice = f"is not a finite number; use a smaller learning rate than {self._optimizer.lr:g}"
        if good < self._taken:
            row = [float(value) for value in self._backend.to_host(state.metrics)[(good + 1) % METRICS_ROWS, :3]]
            raise DivergedError(f"the {_first_not_finite(*row)} of step {good + 1} {advice}")
        slots = [*self._slots.trained, *self._slots.buffers]
        tensors = [wrap(raw, self._backend) for raw in (*state.parameters, *state.buffers)]
        floating = [(self._slots.names[s], tensor) for s, tensor in zip(slots, tensors, strict=True) if tensor.dtype.is_floating]
        finite = stack([all(isfinite(tensor)) for _, tensor in floating]).numpy()  # one read for all
        if not finite.all():
            raise DivergedError(f"after step {self._taken} a number in {floating[int(finite.argmin())][0]} {advice}")


def _first_not_finite(loss: float, rate: float, norm: float) -> str | None:
    """What the first number of a row of the metrics buffer that is not finite stands for."""
    named = {"loss": loss, "learning rate": rate, "gradient": norm}
    return next((name for name, value in named.items() if not math.isfinite(value)), None)


def _copy(backend: Backend, array: Array) -> Array:
    return backend.xp.asarray(array, copy=True)


def _copies(backend: Backend, arrays: Iterable[Array]) -> list[Array]:
    return [_copy(backend, array) for array in arrays]


@contextmanager
def unwarned() -> Iterator[None]:
    """Without an array library's warnings of overflow: the engine checks for what is not finite itself, and raises one error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
