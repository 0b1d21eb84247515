"""The training loop, the same for every model."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tinytorch.array_api import all, asarray, isfinite, stack
from tinytorch.backend import Array, Backend, Step
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module, Parameter, own_value
from tinytorch.nn.precision import Precision
from tinytorch.ops import random
from tinytorch.optim import Optimizer
from tinytorch.optim.optimizer import rate_dtype, scalar
from tinytorch.tensor import Tensor, wrap
from tinytorch.training.metrics import Metric
from tinytorch.training.scaling import FIRST_SCALING
from tinytorch.training.state import METRICS_ROWS, Layout, TrainState
from tinytorch.training.step import make_step, untrained_slots


class DivergedError(RuntimeError):
    """The loss or a parameter is no longer a finite number."""


@dataclass(frozen=True)
class StepRecord:
    """What is known of one step.

    Attributes:
        step: its number, counting from 1.
        train_loss: mean loss of its batch, before the update.
        learning_rate: as used, after the schedule.
        gradient_norm: length of the gradient before clipping; ``None`` where it overflowed float16 and the step was skipped.
        seconds: its share of the wall-clock time since the device was last read.
    """

    step: int
    train_loss: float
    learning_rate: float
    gradient_norm: float | None
    seconds: float


class Trainer:
    """Fits a model to batches.

    Args:
        model: what to train, already on its backend.
        optimizer: holds the parameters to train, all of the model's or some. Of these, a parameter that is frozen
            (``requires_grad = False``) when `train` is called keeps its value, as do those the optimizer does not hold.
        loss_fn: compares outputs with targets; see `tinytorch.nn.Loss`.
        metrics: what `evaluate` measures besides the loss.
        accumulate: parts that each batch is cut into to save memory; divides the batch size.
        precision: what steps and evaluation compute in, one of `tinytorch.nn.PRECISIONS`; parameters stay float32.

    The optimizer's and this object's state go on where they are when `train` is called again.

    Attributes:
        scaling: the loss scale of float16 and its history, as in `TrainState`.
        key: the key for random bits within steps, the seed's; see `tinytorch.ops.random.run_key`.
        stopping: set it, from a signal handler say, to end `train` after the step that is being taken, or the first one.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss_fn: Loss,
        metrics: Sequence[Metric] = (),
        accumulate: int = 1,
        precision: str = "float32",
    ) -> None:
        if accumulate < 1:
            raise ValueError(f"accumulate must be 1 or more, got {accumulate}")
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.metrics = list(metrics)
        self.accumulate = accumulate
        self._precision = precision
        _ = self.precision  # raises where the backend cannot
        self.scaling: list[float] = list(FIRST_SCALING)
        self.key = random.key()
        self.stopping = False

    def predict(self, model: Module, batch: Sequence[Tensor]) -> Tensor:
        """What the model makes of a batch, whose last Tensor holds the targets; a subclass may see batches otherwise."""
        return model(*batch[:-1])  # type: ignore[no-any-return]

    def train(
        self,
        next_batch: Callable[[], Sequence[Any]],
        steps: int,
        on_records: Callable[[list[StepRecord]], None] = lambda records: None,
        look: Callable[[int], None] = lambda step: None,
        look_at: Container[int] = (),
    ) -> list[StepRecord]:
        """Train until the optimizer has taken ``steps`` steps in all.

        Args:
            next_batch: gives host arrays, inputs first, targets last; of the same shapes every time.
            steps: where to stop, counted from the optimizer's first step.
            on_records: told of finished steps, several at a time, since reading the device costs time.
            look: called after each step in ``look_at``, a range say, with the step's number; the model is up to date then.

        Returns:
            What is known of each step.

        Raises:
            ValueError: the optimizer holds a parameter that is not the model's, or all that it holds are frozen.
            RuntimeError: the loss does not depend on any parameter that is trained.
            DivergedError: the loss is not finite; model and optimizer hold the values that they had when the device was read before.
            MemoryError: a step does not fit in the device's memory.
        """
        trained, unused = self._trained(), set[Parameter]()
        records: list[StepRecord] = []
        was_training = self.model.training
        self.model.train()
        try:
            layout, flat = self._state(trained)
            compiled = self._compiled(trained, layout, self.accumulate, unused)
            read, since = self.optimizer.steps, time.perf_counter()
            for number in range(self.optimizer.steps + 1, steps + 1):
                batch = self._send(next_batch())
                with _unwarned():
                    flat, _ = compiled(flat, batch)
                last = number == steps or self.stopping  # looked at once: a signal may set it at any moment
                if last or number in look_at or number - read == METRICS_ROWS:
                    now = layout.unflatten(flat)
                    fresh = self._read(now, read, number, since)
                    records += fresh
                    on_records(fresh)
                    self._check_finite(trained, now, read + len(fresh), number)
                    self._publish(trained, now, unused)
                    if number in look_at:
                        look(number)
                        self.model.train()
                    read, since = number, time.perf_counter()
                if last:
                    break
        finally:
            self.stopping = False
            self.model.train(was_training)
        return records

    def fits(self, batch: Sequence[Any], accumulate: int) -> bool:
        """Whether there is memory for a step on ``batch`` cut into ``accumulate`` parts: it is tried, and what it learned is dropped."""
        try:
            trained = self._trained()
            layout, flat = self._state(trained)
            with _unwarned():
                self._compiled(trained, layout, accumulate, set())(flat, self._send(batch))
            self._backend.synchronize()
        except MemoryError:
            return False
        return True

    def evaluate(self, batches: Iterable[Sequence[Any]]) -> dict[str, float]:
        """The mean loss, as ``"loss"``, and every metric by its name, over all ``batches`` together. Dropout is off."""
        measures: list[tuple[str, Any]] = [("loss", self.loss_fn), *((metric.name, metric) for metric in self.metrics)]
        sums = {name: [0.0, 0.0] for name, _ in measures}
        was_training = self.model.training
        self.model.eval()
        try:
            precision = self.precision
            with precision.applied(self.model):
                for arrays in batches:
                    sent = [wrap(array, self._backend) for array in self._send(arrays)]
                    batch = [*precision.cast(sent[:-1]), sent[-1]]
                    with _unwarned():
                        outputs = self.predict(self.model, batch)
                        for name, measure in measures:
                            sums[name][0] += float(measure.total(outputs, batch[-1]))
                            sums[name][1] += float(measure.count(batch[-1]))
        finally:
            self.model.train(was_training)
        return {name: total / count if count else math.nan for name, (total, count) in sums.items()}

    @property
    def precision(self) -> Precision:
        """What steps and evaluation compute in, where the model is now."""
        return Precision(self._precision, self._backend)

    @property
    def _backend(self) -> Backend:
        return self.optimizer.parameters[0].backend

    def _send(self, batch: Sequence[Any]) -> tuple[Array, ...]:
        """The arrays of a batch on the device. What the model reads is checked by it; targets may be what no model reads (-100, say)."""
        inputs = batch[: max(1, len(batch) - 1)]
        sent = [self.model.receive(array) if array.dtype.kind in "iu" else asarray(array, device=self._backend) for array in inputs]
        sent += [asarray(array, device=self._backend) for array in batch[len(inputs) :]]
        return tuple(tensor.raw for tensor in sent)

    def _trained(self) -> list[Parameter]:
        """The parameters that steps update."""
        own = set(self.model.parameters())
        foreign = sum(parameter not in own for parameter in self.optimizer.parameters)
        if foreign:
            raise ValueError(f"the optimizer holds {foreign} parameters that are not the model's; pass it those of model.parameters()")
        trained = [parameter for parameter in self.optimizer.parameters if parameter.requires_grad]
        if not trained:
            raise ValueError("there is nothing to train: every parameter of the optimizer has requires_grad = False")
        return trained

    def _state(self, trained: Sequence[Parameter]) -> tuple[Layout, tuple[Array, ...]]:
        """The state that steps start from, flat, and how to read it: copies, as each step's state is donated to it."""
        optimizer, backend = self.optimizer, self._backend
        constants, buffers = untrained_slots(self.model, trained)
        with _unwarned():  # a learning rate may be too large for float32
            state = TrainState(
                _copies(backend, [parameter.raw for parameter in trained]),
                _copies(backend, [parameter.raw for parameter in constants]),
                _copies(backend, [own_value(slot).raw for slot in buffers]),
                _copies(backend, optimizer.state_arrays(trained)),
                scalar(backend, optimizer.steps, "int32"),
                scalar(backend, optimizer.lr, rate_dtype(trained)),
                scalar(backend, [self.key], "int32"),
                scalar(backend, self.scaling, "float32"),
                backend.xp.zeros((METRICS_ROWS, 4), dtype=backend.dtype("float32")),
            )
        return state.layout(), state.flatten()

    def _compiled(self, trained: Sequence[Parameter], layout: Layout, accumulate: int, unused: set[Parameter]) -> Step:
        step = make_step(self.model, trained, self.predict, self.loss_fn, self.optimizer, self.precision, layout, accumulate, unused)
        return self._backend.compile(step, donate=True)

    def _read(self, state: TrainState, done: int, number: int, since: float) -> list[StepRecord]:
        """What happened in steps ``done + 1`` to ``number``, from the device's metrics buffer, or up to the first that went wrong."""
        rows = self._backend.to_host(state.metrics)  # waits for the steps to finish
        share = (time.perf_counter() - since) / (number - done)
        records = []
        for step in range(done + 1, number + 1):
            loss, rate, norm, skipped = (float(value) for value in rows[step % METRICS_ROWS])
            if _first_not_finite(loss, rate, 0.0 if skipped else norm) is not None:
                break
            records.append(StepRecord(step, loss, rate, None if skipped else norm, share))
        return records

    def _check_finite(self, trained: Sequence[Parameter], state: TrainState, good: int, number: int) -> None:
        """Raise `DivergedError` where only ``good`` of ``number`` steps have a finite loss and gradient, or the model is not finite."""
        advice = f"is not a finite number; use a smaller learning rate than {self.optimizer.lr:g}"
        if good < number:
            row = [float(value) for value in self._backend.to_host(state.metrics)[(good + 1) % METRICS_ROWS, :3]]
            raise DivergedError(f"the {_first_not_finite(*row)} of step {good + 1} {advice}")
        names = {slot: name for name, slot in self.model.slots().items()}
        slots = [*trained, *untrained_slots(self.model, trained)[1]]
        tensors = [wrap(raw, self._backend) for raw in (*state.parameters, *state.buffers)]
        floating = [(names[slot], tensor) for slot, tensor in zip(slots, tensors, strict=True) if tensor.dtype.is_floating]
        finite = stack([all(isfinite(tensor)) for _, tensor in floating]).numpy()  # one read for all
        if not finite.all():
            raise DivergedError(f"after step {number} a number in {floating[int(finite.argmin())][0]} {advice}")

    def _publish(self, trained: Sequence[Parameter], state: TrainState, unused: Collection[Parameter]) -> None:
        """Show the step's arrays in the model and the optimizer: copies, since the next step may overwrite its own."""
        backend, optimizer = self._backend, self.optimizer
        slots = [*trained, *untrained_slots(self.model, trained)[1]]
        for slot, raw in zip(slots, [*state.parameters, *state.buffers], strict=True):
            own = own_value(slot)
            own.raw = _copy(backend, raw)  # one by one: what it takes the place of is freed before the next is made
        used = [parameter for parameter in trained if parameter not in unused]
        owners = [parameter for _ in optimizer.slots() for parameter in trained]
        arrays = (_copy(backend, raw) for owner, raw in zip(owners, state.optimizer, strict=True) if owner not in unused)
        if self.precision.scaled:
            self.scaling = [float(value) for value in backend.to_host(state.scaling)]
        skipped = int(self.scaling[2]) - optimizer.skipped
        optimizer.keep_state(used, arrays, int(backend.to_host(state.step)) - optimizer.steps, skipped)


def _first_not_finite(loss: float, rate: float, norm: float) -> str | None:
    """What the first number of a row of metrics that is not finite stands for."""
    named = {"loss": loss, "learning rate": rate, "gradient": norm}
    return next((name for name, value in named.items() if not math.isfinite(value)), None)


def _copy(backend: Backend, array: Array) -> Array:
    return backend.xp.asarray(array, copy=True)


def _copies(backend: Backend, arrays: Iterable[Array]) -> list[Array]:
    return [_copy(backend, array) for array in arrays]


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without an array library's warnings of overflow: the trainer looks for what is not finite itself, and says so in one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
