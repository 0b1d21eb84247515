"""The training loop, the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from tinytorch.array_api import asarray
from tinytorch.backend import Array, Backend
from tinytorch.nn.losses import Loss
from tinytorch.nn.module import Module
from tinytorch.nn.precision import Precision
from tinytorch.ops import random
from tinytorch.optim import Optimizer
from tinytorch.tensor import Tensor, wrap
from tinytorch.training.engine import Engine, StepRecord, unwarned
from tinytorch.training.metrics import Metric
from tinytorch.training.scaling import FIRST_SCALING
from tinytorch.training.step import Predict


def predict_inputs(model: Module, batch: Sequence[Tensor]) -> Tensor:
    """The model's outputs for a batch of inputs and, last, targets."""
    return model(*batch[:-1])  # type: ignore[no-any-return]


class Trainer:
    """Trains a model on batches.

    Args:
        model: the model, already on its backend.
        optimizer: holds the parameters to train, all of the model's or some. Of these, a parameter that is frozen
            (``requires_grad = False``) when `fit` is called keeps its value, as do those the optimizer does not hold.
        loss_fn: compares outputs with targets; see `tinytorch.nn.Loss`.
        metrics: what `evaluate` measures besides the loss.
        accumulate: microbatches that each batch is cut into to save memory; must divide the batch size.
        precision: what steps and evaluation compute in, one of `tinytorch.nn.PRECISIONS`; parameters stay float32.
        predict: ``predict(model, batch) -> outputs``; defaults to the model's outputs for all arrays of a batch but the last, the targets.

    The optimizer's state, and that of this object, are kept between calls of `fit`.

    Attributes:
        scaling: the loss scale of float16 and its history, as in `TrainState`.
        key: the key for random bits within steps, the seed's; see `tinytorch.ops.random.run_key`.
        stopping: set it, from a signal handler say, to end `fit` after the step that is being taken, or the first one.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss_fn: Loss,
        metrics: Sequence[Metric] = (),
        accumulate: int = 1,
        precision: str = "float32",
        predict: Predict = predict_inputs,
    ) -> None:
        if accumulate < 1:
            raise ValueError(f"accumulate must be 1 or more, got {accumulate}")
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.metrics = list(metrics)
        self.accumulate = accumulate
        self.predict = predict
        self._precision = precision
        _ = self.precision  # raises where the backend cannot
        self.scaling: list[float] = list(FIRST_SCALING)
        self.key = random.key()
        self.stopping = False

    def fit(
        self,
        next_batch: Callable[[], Sequence[Any]],
        steps: int,
        *,
        on_records: Callable[[list[StepRecord]], None] = lambda records: None,
        on_eval: Callable[[int], None] = lambda step: None,
        eval_steps: Container[int] = (),
    ) -> list[StepRecord]:
        """Train until the optimizer has taken ``steps`` steps in all.

        Args:
            next_batch: returns host arrays, inputs first, targets last; of the same shapes every time.
            steps: where to stop, counted from the optimizer's first step.
            on_records: called with finished steps, several at a time, since reading the device costs time.
            on_eval: called after each step in ``eval_steps`` with the step's number; the model is up to date then.
            eval_steps: a range, say.

        Returns:
            What is known of each step.

        Raises:
            ValueError: the optimizer holds a parameter that is not the model's, or all that it holds are frozen.
            RuntimeError: the loss does not depend on any parameter that is trained.
            DivergedError: the loss is not finite; model and optimizer hold the values that they had when the device was read before.
            MemoryError: a step does not fit in the device's memory.
        """
        records: list[StepRecord] = []
        was_training = self.model.training
        self.model.train()
        try:
            engine = self._engine(self.accumulate)
            for number in range(self.optimizer.steps + 1, steps + 1):
                engine.step(self._send(next_batch()))
                last = number == steps or self.stopping  # read once: a signal handler may set it at any moment
                if last or number in eval_steps or engine.full:
                    new = engine.read()
                    records += new
                    on_records(new)
                    self.scaling = engine.publish(new)
                    if number in eval_steps:
                        on_eval(number)
                        self.model.train()
                    engine.resume()
                if last:
                    break
        finally:
            self.stopping = False
            self.model.train(was_training)
        return records

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
                    with unwarned():
                        outputs = self.predict(self.model, batch)
                        for name, measure in measures:
                            sums[name][0] += float(measure.total(outputs, batch[-1]))
                            sums[name][1] += float(measure.count(batch[-1]))
        finally:
            self.model.train(was_training)
        return {name: total / count if count else math.nan for name, (total, count) in sums.items()}

    def fits(self, batch: Sequence[Any], accumulate: int) -> bool:
        """Whether there is memory for a step on ``batch`` in ``accumulate`` microbatches: one is taken, and its result dropped."""
        try:
            self._engine(accumulate).step(self._send(batch))
            self._backend.synchronize()
        except MemoryError:
            return False
        return True

    @property
    def precision(self) -> Precision:
        """What steps and evaluation compute in, where the model is now."""
        return Precision(self._precision, self._backend)

    @property
    def _backend(self) -> Backend:
        return self.optimizer.parameters[0].backend

    def _engine(self, accumulate: int) -> Engine:
        return Engine(self.model, self.optimizer, self.predict, self.loss_fn, self.precision, accumulate, self.scaling, self.key)

    def _send(self, batch: Sequence[Any]) -> tuple[Array, ...]:
        """The arrays of a batch on the device. What the model reads is checked by it; targets may be what no model reads (-100, say)."""
        inputs = batch[: max(1, len(batch) - 1)]
        sent = [self.model.prepare_input(array) if array.dtype.kind in "iu" else asarray(array, device=self._backend) for array in inputs]
        sent += [asarray(array, device=self._backend) for array in batch[len(inputs) :]]
        return tuple(tensor.raw for tensor in sent)
