"""Train a language model on text."""

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

#: Windows per evaluation batch.
_EVALUATION_BATCH = 32


def random_batches(tokens: HostArray, length: int, batch_size: int) -> Callable[[], tuple[HostArray]]:
    """Return a function that draws a batch of random windows of shape (batch_size, length + 1) with the CPU random generator."""
    return lambda: (random_windows(tokens, length, batch_size, random.generator()).astype("int64", copy=False),)


def evaluation_batches(tokens: HostArray, length: int, max_windows: int | None = None) -> Iterator[tuple[HostArray]]:
    """Yield batches of windows that predict every token but the first once, or only ``max_windows`` evenly spaced windows.

    Raises:
        InputError: if there are too few tokens for one window, or ``length`` is less than 1.
    """
    tokens = tokens.astype("int64", copy=False)
    windows = sequential_windows(tokens, length)
    whole = max_windows is None or max_windows >= len(windows)
    if max_windows is not None and not whole:
        windows = windows[[i * len(windows) // max_windows for i in range(max_windows)]]
    for start in range(0, len(windows), _EVALUATION_BATCH):
        yield (windows[start : start + _EVALUATION_BATCH],)
    rest = remaining_window(tokens, length)
    if whole and rest is not None:
        yield (rest,)


def next_token_logits(model: Module, batch: Sequence[Tensor]) -> Tensor:
    """Logits (B, T, V) for windows of tokens (B, T + 1): the model's inputs are the first T tokens, its targets the last T."""
    return model(batch[0][:, :-1])  # type: ignore[no-any-return]


class LanguageModelTrainer:
    """Trains a language model on a text, using a `Trainer` on batches of token windows.

    Args:
        model: the model, such as `TinyGPT`.
        tokenizer: the model's tokenizer.
        optimizer: defaults to `AdamW` with a learning rate of 3e-4, a weight decay of 0.01 for matrices, and gradient clipping at 1.
        loss_fn: defaults to `LanguageModelLoss`.
        metrics: defaults to `LanguageModelAccuracy`.
        accumulate: number of microbatches per batch, see `Trainer`.
        precision: precision of the computations, see `Trainer`.

    Attributes:
        trainer: the `Trainer`. Its batches are tuples of one array, token windows of shape (B, T + 1).

    Example:
        >>> from tinytorch.models import TinyGPT
        >>> from tinytorch.text import CharTokenizer
        >>> from tinytorch.training import LanguageModelTrainer
        >>> text = "to be or not to be. " * 20
        >>> tokenizer = CharTokenizer().fit(text)
        >>> model = TinyGPT(tokenizer.get_vocab_size(), d_model=8, num_heads=2, num_layers=1, max_length=8)
        >>> history = LanguageModelTrainer(model, tokenizer).fit(text, batch_size=4, progress=False)
        >>> len(history["train_loss"]), len(history["val_loss"])
        (11, 1)
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
        """The trainer's optimizer."""
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
        """Train on the training split of ``text`` and evaluate on its validation split after each epoch.

        Args:
            text: the text itself.
            epochs: number of epochs. Windows are drawn at random; an epoch has as many as cover each training token once on average.
            seq_length: tokens per window; defaults to the model's ``max_length``.
            batch_size: windows per step.
            val_split: fraction of the text, at its end, used as validation split; 0 for no validation.
            progress: whether to show a progress bar.

        Returns:
            A dict of lists: ``step``, ``train_loss`` and ``learning_rate`` for each step, and ``val_step``, ``val_loss`` and
            ``val_accuracy`` for each epoch.

        Raises:
            InputError: if a split is too short for one window, or a number is out of range.
            DivergedError: if the loss is not finite.
        """
        length = self.model.max_length if seq_length is None else seq_length
        if epochs < 1 or batch_size < 1:
            raise InputError(f"`epochs` and `batch_size` must be 1 or more, got {epochs} and {batch_size}")
        tokens = self.tokenizer.encode_array(text)
        training, validation = split_text(tokens, val_split) if val_split else (tokens, tokens[:0])
        for split in (training, validation) if val_split else (training,):
            next(evaluation_batches(split, length, max_windows=1))  # raises before training if a split is too short
        next_batch = random_batches(training, length, batch_size)
        epoch_steps = max(1, len(training) // (batch_size * length))
        begin, end = self.optimizer.steps, self.optimizer.steps + epochs * epoch_steps
        history: dict[str, list[float]] = {"step": [], "train_loss": [], "learning_rate": [], "val_step": [], "val_loss": []}

        with Progress(begin, end, batch_size * length, shown=progress) as bar:

            def on_records(records: list[StepRecord]) -> None:
                bar.advance(records)
                history["step"] += [record.step for record in records]
                history["train_loss"] += [record.train_loss for record in records]
                history["learning_rate"] += [record.learning_rate for record in records]

            def on_epoch(step: int) -> None:
                measured = self.trainer.evaluate(evaluation_batches(validation, length))
                bar.print_evaluation(step, measured)
                history["val_step"].append(step)
                for name, value in measured.items():
                    history.setdefault(f"val_{name}", []).append(value)

            eval_steps = range(begin + epoch_steps, end + 1, epoch_steps) if val_split else ()
            self.trainer.fit(next_batch, end, on_records=on_records, on_eval=on_epoch, eval_steps=eval_steps)
        return history

    def generate_text(self, prompt: str, max_length: int = 200, temperature: float = 1.0, **settings: Any) -> str:
        """Return ``prompt`` and up to ``max_length`` generated tokens; ``settings`` are those of `tinytorch.generation.generate`."""
        settings = {"temperature": temperature, "tokenizer": self.tokenizer, "precision": self.trainer.precision.name, **settings}
        return prompt + str(generate(self.model, prompt, max_length, **settings))
