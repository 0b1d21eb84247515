"""Training a language model on text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tinytorch.generation import generate
from tinytorch.io.errors import InputError
from tinytorch.io.files import HostArray
from tinytorch.models import TinyGPT
from tinytorch.nn.losses import LanguageModelLoss, Loss
from tinytorch.nn.module import Module
from tinytorch.ops import random
from tinytorch.optim import AdamW, Optimizer, weight_decay_groups
from tinytorch.tensor import Tensor
from tinytorch.text import Tokenizer, random_windows, remaining_window, sequential_windows, split_text
from tinytorch.training.engine import StepRecord
from tinytorch.training.metrics import LanguageModelAccuracy, Metric
from tinytorch.training.progress import Progress
from tinytorch.training.trainer import Trainer

#: Windows that are evaluated at once.
_EVALUATION_BATCH = 32


def random_batches(tokens: HostArray, length: int, batch_size: int) -> Callable[[], tuple[HostArray]]:
    """A function that returns a batch of random windows (batch_size, length + 1), drawn from the one seed's host generator."""
    return lambda: (random_windows(tokens, length, batch_size, random.generator()).astype("int64", copy=False),)


def evaluation_batches(tokens: HostArray, length: int, most: int | None = None) -> Iterator[tuple[HostArray]]:
    """The windows that predict each of ``tokens`` but the first once, in batches; with ``most``, that many evenly spaced ones.

    Raises:
        InputError: there are too few tokens for one window, or ``length`` is less than 1.
    """
    tokens = tokens.astype("int64", copy=False)
    windows = sequential_windows(tokens, length)
    whole = most is None or most >= len(windows)
    if most is not None and not whole:
        windows = windows[[i * len(windows) // most for i in range(most)]]
    for start in range(0, len(windows), _EVALUATION_BATCH):
        yield (windows[start : start + _EVALUATION_BATCH],)
    rest = remaining_window(tokens, length)
    if whole and rest is not None:
        yield (rest,)


def next_token_logits(model: Module, batch: Sequence[Tensor]) -> Tensor:
    """Logits (B, T, V) for windows of tokens (B, T + 1): the model reads the first T, and each predicts the token after it."""
    return model(batch[0][:, :-1])  # type: ignore[no-any-return]


class LanguageModelTrainer:
    """Trains a language model on a text: a `Trainer` whose batches are windows of tokens.

    Args:
        model: predicts the next token, such as `TinyGPT`.
        tokenizer: turns the text into the model's tokens.
        optimizer: defaults to `AdamW` with a learning rate of 3e-4, a weight decay of 0.01 for matrices, and clipping at 1.
        loss_fn: defaults to `LanguageModelLoss`.
        metrics: defaults to `LanguageModelAccuracy`.
        accumulate, precision: see `Trainer`.

    Attributes:
        trainer: the `Trainer`, whose batches are tuples of one array, windows of tokens (B, T + 1).
    """

    def __init__(
        self,
        model: TinyGPT,
        tokenizer: Tokenizer,
        optimizer: Optimizer | None = None,
        loss_fn: Loss | None = None,
        metrics: Sequence[Metric] | None = None,
        accumulate: int = 1,
        precision: str = "float32",
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.trainer = Trainer(
            model,
            AdamW(weight_decay_groups(model.parameters(), 0.01), lr=3e-4, max_norm=1.0) if optimizer is None else optimizer,
            LanguageModelLoss() if loss_fn is None else loss_fn,
            [LanguageModelAccuracy()] if metrics is None else metrics,
            accumulate,
            precision,
            next_token_logits,
        )

    @property
    def optimizer(self) -> Optimizer:
        """The trainer's."""
        return self.trainer.optimizer

    def fit(
        self,
        text: str,
        epochs: int = 1,
        seq_length: int | None = None,
        batch_size: int = 32,
        val_split: float = 0.1,
        progress: bool = True,
    ) -> dict[str, list[float]]:
        """Train on the first part of ``text`` and evaluate on the rest, the validation split.

        Args:
            text: the text itself.
            epochs: an epoch is as many random windows as it takes to see each training token once on average.
            seq_length: tokens in a window; defaults to the model's ``max_length``.
            batch_size: windows in a step.
            val_split: share of the text, at its end, that is held out for validation; 0 for none.
            progress: show a bar.

        Returns:
            Lists by name: ``step``, ``train_loss`` and ``learning_rate`` for each step, and ``val_step``, ``val_loss`` and
            ``val_accuracy`` for each epoch.

        Raises:
            InputError: a part of the text is too short for one window, or a number is out of range.
            DivergedError: the loss is no longer a finite number.
        """
        length = self.model.max_length if seq_length is None else seq_length
        if epochs < 1 or batch_size < 1:
            raise InputError(f"`epochs` and `batch_size` must be 1 or more, got {epochs} and {batch_size}")
        tokens = self.tokenizer.encode_array(text)
        training, held_out = split_text(tokens, val_split) if val_split else (tokens, tokens[:0])
        for part in (training, held_out) if val_split else (training,):
            next(evaluation_batches(part, length, most=1))  # too short a part is told before training, not after
        next_batch = random_batches(training, length, batch_size)
        epoch = max(1, len(training) // (batch_size * length))
        begin, end = self.optimizer.steps, self.optimizer.steps + epochs * epoch
        history: dict[str, list[float]] = {"step": [], "train_loss": [], "learning_rate": [], "val_step": [], "val_loss": []}

        with Progress(begin, end, batch_size * length, shown=progress) as bar:

            def on_records(records: list[StepRecord]) -> None:
                bar.advance(records)
                history["step"] += [record.step for record in records]
                history["train_loss"] += [record.train_loss for record in records]
                history["learning_rate"] += [record.learning_rate for record in records]

            def on_epoch(step: int) -> None:
                measured = self.trainer.evaluate(evaluation_batches(held_out, length))
                bar.evaluated(step, measured)
                history["val_step"].append(step)
                for name, value in measured.items():
                    history.setdefault(f"val_{name}", []).append(value)

            eval_steps = range(begin + epoch, end + 1, epoch) if val_split else ()
            self.trainer.fit(next_batch, end, on_records=on_records, on_eval=on_epoch, eval_steps=eval_steps)
        return history

    def generate_text(self, prompt: str, max_length: int = 200, temperature: float = 1.0, **settings: Any) -> str:
        """``prompt`` and ``max_length`` more tokens; ``settings`` as for `tinytorch.generation.generate`."""
        settings = {"temperature": temperature, "tokenizer": self.tokenizer, "precision": self.trainer.precision.name, **settings}
        return prompt + str(generate(self.model, prompt, max_length, **settings))
