"""The training loop, the same for every model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinytorch import random
from tinytorch.array_api import all, asarray, isfinite, stack
from tinytorch.backend import Array, Step
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module, Parameter
from tinytorch.optim import Optimizer
from tinytorch.optim.optimizer import scalar
from tinytorch.tape import no_grad
from tinytorch.tensor import Tensor, wrap
from tinytorch.training.metrics import Metric
from tinytorch.training.state import RING, TrainState
from tinytorch.training.step import make_step


class DivergedError(RuntimeError):
    """The loss or a parameter is no longer a finite number."""


@dataclass(frozen=True)
class StepRecord:
    """What is known of one step.

    Attributes:
        step: its number, counting from 1.
        train_loss: mean loss of its batch, before the update.
        learning_rate: as used, after the schedule.
        gradient_norm: length of the gradient before clipping.
        seconds: its share of the wall-clock time since the device was last read.
    """

    step: int
    train_loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


class Trainer:
    """Fits a model to batches.

    Args:
        model: what to train, already on its backend.
        optimizer: holds the model's parameters.
        loss_fn: compares outputs with targets; see `tinytorch.nn.Loss`.
        metrics: what `evaluate` measures besides the loss.
        accumulate: parts that each batch is cut into to save memory; divides the batch size.

    The optimizer's and this object's state go on where they are when `train` is called again.

    Attributes:
        key: the run's key for random bits within steps; see `tinytorch.random.run_key`.
        stopping: set it, from a signal handler say, to end `train` after the step that is being taken.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss_fn: Loss,
        metrics: Sequence[Metric] = (),
        accumulate: int = 1,
    ) -> None:
        if accumulate < 1:
            raise ValueError(f"accumulate must be 1 or more, got {accumulate}")
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.metrics = list(metrics)
        self.accumulate = accumulate
        self.key = random.run_key(0)
        self.stopping = False

    def predict(self, model: Module, batch: Sequence[Tensor]) -> Tensor:
        """What the model makes of a batch, whose last Tensor holds the targets; a subclass may see batches otherwise."""
        return model(*batch[:-1])  # type: ignore[no-any-return]

    def train(
        self,
        next_batch: Callable[[], Sequence[Any]],
        steps: int,
        on_records: Callable[[list[StepRecord]], None] = lambda records: None,
        every: dict[int, Callable[[int], None]] | None = None,
    ) -> list[StepRecord]:
        """Train until the optimizer has taken ``steps`` steps in all.

        Args:
            next_batch: gives host arrays, inputs first, targets last; of the same shapes every time.
            steps: where to stop, counted from the optimizer's first step.
            on_records: told of finished steps, several at a time, since reading the device costs time.
            every: functions to call after steps that are a multiple of their key, with the step's number; the model is up to date then.

        Returns:
            What is known of each step.

        Raises:
            DivergedError: the loss is not finite; the model holds the values that it had when the device was read before.
        """
        every = every or {}
        backend = self.optimizer.parameters[0].backend
        self._check_parameters()
        was_training = self.model.training
        self.model.train()
        state = self._state()
        compiled: Step = backend.compile(
            make_step(self.model, self.predict, self.loss_fn, self.optimizer, backend, state, self.accumulate), donate=True
        )
        flat = state.flatten()
        records: list[StepRecord] = []
        read, since = self.optimizer.steps, time.perf_counter()
        self.stopping = False
        try:
            for number in range(self.optimizer.steps + 1, steps + 1):
                batch = tuple(self._send(array, backend) for array in next_batch())
                flat, _ = compiled(flat, batch)
                due = [function for interval, function in every.items() if number % interval == 0]
                if due or number - read == RING or number == steps or self.stopping:
                    fresh = self._read(state.unflatten(flat), read, number, time.perf_counter() - since)
                    self._publish(state.unflatten(flat))
                    records += fresh
                    on_records(fresh)
                    for function in due:
                        function(number)
                        self.model.train()
                    read, since = number, time.perf_counter()
                if self.stopping:
                    break
        finally:
            self.model.train(was_training)
        return records

    @no_grad()
    def evaluate(self, batches: Iterable[Sequence[Any]]) -> dict[str, float]:
        """The mean loss, as ``"loss"``, and every metric by its name, over all ``batches`` together. Dropout is off."""
        backend = self.optimizer.parameters[0].backend
        measures: list[tuple[str, Any]] = [("loss", self.loss_fn), *((metric.name, metric) for metric in self.metrics)]
        sums = {name: [0.0, 0.0] for name, _ in measures}
        was_training = self.model.training
        self.model.eval()
        try:
            for arrays in batches:
                batch = [wrap(self._send(array, backend), backend) for array in arrays]
                outputs = self.predict(self.model, batch)
                for name, measure in measures:
                    sums[name][0] += float(measure.total(outputs, batch[-1]))
                    sums[name][1] += float(measure.count(batch[-1]))
        finally:
            self.model.train(was_training)
        return {name: total / count if count else math.nan for name, (total, count) in sums.items()}

    def _send(self, array: Any, backend: Any) -> Array:
        tensor = self.model.receive(array) if array.dtype.kind in "iu" else asarray(array, device=backend)
        return tensor.raw

    def _check_parameters(self) -> None:
        own = list(self.model.parameters())
        given = self.optimizer.parameters
        if len(own) != len(given) or any(a is not b for a, b in zip(own, given, strict=True)):
            raise ValueError("the optimizer must hold the model's parameters, all of them in order: pass it model.parameters()")

    def _state(self) -> TrainState:
        optimizer = self.optimizer
        backend = optimizer.parameters[0].backend
        slots = self.model.slots().values()
        params = [slot.raw for slot in slots if isinstance(slot, Parameter)]
        buffers = [slot[0]._buffers[slot[1]].raw for slot in slots if not isinstance(slot, Parameter)]
        own = optimizer.init(backend, params) if optimizer.state is None else optimizer.state
        return TrainState(
            params,
            buffers,
            list(own),
            scalar(backend, optimizer.steps, "int32"),
            scalar(backend, optimizer.lr, "float32"),
            scalar(backend, [self.key], "int32"),
            backend.xp.zeros((RING, 3), dtype=backend.dtype("float32")),
        )

    def _read(self, state: TrainState, done: int, number: int, seconds: float) -> list[StepRecord]:
        """What happened in steps ``done + 1`` to ``number``, from the device's ring."""
        ring = self.optimizer.parameters[0].backend.to_host(state.ring)
        share = seconds / max(1, number - done)
        records = []
        for step in range(done + 1, number + 1):
            loss, rate, norm = (float(value) for value in ring[step % RING])
            if not (math.isfinite(loss) and math.isfinite(norm)):
                what = "loss" if not math.isfinite(loss) else "gradient"
                raise DivergedError(f"the {what} of step {step} is not a finite number; use a smaller learning rate than {rate:g}")
            records.append(StepRecord(step, loss, rate, norm, share))
        return records

    def _publish(self, state: TrainState) -> None:
        """Show the step's arrays in the model and the optimizer; raises `DivergedError` where a parameter is not finite."""
        backend = self.optimizer.parameters[0].backend
        slots = self.model.slots()
        arrays = [*state.parameters, *state.buffers]
        finite = stack([all(isfinite(wrap(raw, backend))) for raw in arrays]).numpy()  # one read for all
        if not finite.all():
            name = list(slots)[int(finite.argmin())]
            raise DivergedError(f"{name} holds a number that is not finite; use a smaller learning rate than {self.optimizer.lr:g}")
        for slot, raw in zip(slots.values(), arrays, strict=True):
            own = slot if isinstance(slot, Parameter) else slot[0]._buffers[slot[1]]
            own.raw = raw
        self.optimizer.state = state.optimizer
        self.optimizer.steps = int(backend.to_host(state.step))
