"""The training loop for any model."""

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
from tinytorch.training.engine import Engine, StepRecord, ignore_overflow_warnings
from tinytorch.training.metrics import Metric
from tinytorch.training.scaling import FIRST_SCALING
from tinytorch.training.step import Predict


def predict_inputs(model: Module, batch: Sequence[Tensor]) -> Tensor:
    """Call the model with all arrays of a batch but the last, which holds the targets."""
    return model(*batch[:-1])  # type: ignore[no-any-return]


class Trainer:
    """Trains and evaluates a model on batches.

    The state of the optimizer and of the trainer is kept between calls of `fit`.

    Args:
        model: the model, already on its backend.
        optimizer: holds the parameters to train, all or some of the model's. Parameters that are frozen (``requires_grad = False``)
            when `fit` is called, and parameters that the optimizer does not hold, are not updated.
        loss_fn: compares outputs with targets; see `tinytorch.nn.Loss`.
        metrics: what `evaluate` measures in addition to the loss; see `Metric`.
        accumulate: number of microbatches per batch (gradient accumulation); must divide the batch size.
        precision: precision of training and evaluation, one of `tinytorch.nn.PRECISIONS`; parameters stay float32.
        predict: the forward pass, ``predict(model, batch) -> outputs``; defaults to ``model(*batch[:-1])``. The last array of a batch
            holds the targets.

    Attributes:
        scaling: state of the loss scaling for float16, see `TrainState`.
        key: seed of the random numbers in training steps (dropout); derived from `tinytorch.seed`, see `tinytorch.ops.random.run_key`.
        stopping: set to True, for example in a signal handler, to end `fit` after the current (or first) step.

    Raises:
        ValueError: if ``accumulate`` is less than 1.
        InputError: if the backend does not support ``precision``.

    Example:
        >>> from tinytorch.training import Trainer
        >>> model = nn.Linear(2, 1)
        >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
        >>> batch = numpy.asarray([[1.0, 0.0], [0.0, 1.0]], "float32"), numpy.asarray([[1.0], [2.0]], "float32")
        >>> records = trainer.fit(lambda: batch, steps=200)
        >>> trainer.evaluate([batch])["loss"] < 0.01 < records[0].train_loss
        True
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
            raise ValueError(f"`accumulate` must be 1 or more, got {accumulate}")
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.metrics = list(metrics)
        self.accumulate = accumulate
        self.predict = predict
        self._precision = precision
        _ = self.precision  # raises if the backend does not support it
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
        """Train until the optimizer has taken ``steps`` steps in total.

        Args:
            next_batch: returns a batch, a sequence of numpy arrays with the targets last. Shapes must be the same every time.
            steps: total number of steps, including those of earlier calls.
            on_records: called with the records of finished steps, several at a time, since reading from the device is slow.
            on_eval: called with the step number after each step in ``eval_steps``, when the model is up to date.
            eval_steps: the steps after which to call ``on_eval``, such as a range.

        Returns:
            A record for each step of this call.

        Raises:
            ValueError: if the optimizer holds a parameter that does not belong to the model, or all its parameters are frozen.
            RuntimeError: if the loss does not depend on any trained parameter.
            DivergedError: if the loss is not finite. Model and optimizer then keep their values of a few steps before, when the losses were
                last read from the device.
            MemoryError: if a step does not fit in the device's memory.
        """
        records: list[StepRecord] = []
        was_training = self.model.training
        self.model.train()
        try:
            engine = self._engine(self.accumulate)
            for number in range(self.optimizer.steps + 1, steps + 1):
                engine.step(self._send(next_batch()))
                last = number == steps or self.stopping  # read once: a signal handler may set it at any time
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
        """Compute the mean loss (as ``"loss"``) and all metrics (by name) over ``batches``, in evaluation mode."""
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
                    with ignore_overflow_warnings():
                        outputs = self.predict(self.model, batch)
                        for name, measure in measures:
                            sums[name][0] += float(measure.total(outputs, batch[-1]))
                            sums[name][1] += float(measure.count(batch[-1]))
        finally:
            self.model.train(was_training)
        return {name: total / count if count else math.nan for name, (total, count) in sums.items()}

    def fits_in_memory(self, batch: Sequence[Any], accumulate: int) -> bool:
        """Whether a step on ``batch`` with ``accumulate`` microbatches fits in memory. Runs one step and discards its result."""
        try:
            self._engine(accumulate).step(self._send(batch))
            self._backend.synchronize()
        except MemoryError:
            return False
        return True

    @property
    def precision(self) -> Precision:
        """Precision of training and evaluation on the current backend of the model."""
        return Precision(self._precision, self._backend)

    @property
    def _backend(self) -> Backend:
        return self.optimizer.parameters[0].backend

    def _engine(self, accumulate: int) -> Engine:
        return Engine(self.model, self.optimizer, self.predict, self.loss_fn, self.precision, accumulate, self.scaling, self.key)

    def _send(self, batch: Sequence[Any]) -> tuple[Array, ...]:
        """Copy a batch to the device. The model validates integer inputs, but not targets, which may be ignored values (-100)."""
        inputs = batch[: max(1, len(batch) - 1)]
        sent = [self.model.prepare_input(array) if array.dtype.kind in "iu" else asarray(array, device=self._backend) for array in inputs]
        sent += [asarray(array, device=self._backend) for array in batch[len(inputs) :]]
        return tuple(tensor.raw for tensor in sent)
