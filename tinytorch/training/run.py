"""A training run of a language model from start to end: trainer, metrics, checkpoints, samples and curve."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.optim import AdamW, WarmupCosine, weight_decay_groups
from tinytorch.text import split_text
from tinytorch.training.checkpoint import save_checkpoint
from tinytorch.training.corpus import Corpus
from tinytorch.training.curves import save_loss_plot, terminal_curve
from tinytorch.training.language_model import LanguageModelTrainer
from tinytorch.training.memory import does_not_fit
from tinytorch.training.metrics_log import MetricsLog
from tinytorch.training.progress import Progress
from tinytorch.training.run_directory import CURVE, METRICS, RunDirectory
from tinytorch.training.trainer import DivergedError, StepRecord

if TYPE_CHECKING:
    from rich.console import Console

#: Share of the text, at its end, that is held out, and the most tokens of it.
VAL_SPLIT = 0.1
VAL_MOST = 1_000_000
#: Weight decay of matrices.
WEIGHT_DECAY = 0.1
#: Held-out windows that an evaluation on the way looks at.
_SOME = 200


#: Steps and training losses, steps and validation losses.
_Curve: TypeAlias = tuple[list[int], list[float], list[int], list[float]]


class StopRun(BaseException):
    """Interrupts an evaluation, a sample or a report, for which nothing is unsaved; see `Run.stop`."""


class Run:
    """Everything needed to train, made from a run's configuration.

    Args:
        config: as in ``config.json``.
        corpus: what to learn from.
        model: what learns, of the configuration's shape.

    Attributes:
        directory: where the run is kept; to be set before anything is saved.
        stopping: whether `stop` was called.
        saving: whether files are being written.
        interruptible: whether everything is saved and no step is running.
        finished: whether all steps and the final evaluation are done.
    """

    directory: RunDirectory

    def __init__(self, config: dict[str, Any], corpus: Corpus, model: TinyGPT) -> None:
        settings = config["training"]
        self.block_size: int = settings["block_size"]
        self.batch_size: int = settings["batch_size"]
        self.eval_every: int = settings["eval_every"]
        tokens = corpus.tokens
        _check_length(len(tokens), self.block_size)
        cut = max(len(split_text(tokens, VAL_SPLIT)[0]), len(tokens) - VAL_MOST)
        self.training, self.held_out = tokens[:cut], tokens[cut:]
        self.prompt = corpus.prompt
        model.checkpoint_activations = settings["checkpoint_activations"]
        decay_steps: int = settings["decay_steps"] or settings["steps"]
        optimizer = AdamW(
            weight_decay_groups(model.parameters(), WEIGHT_DECAY),
            lr=settings["learning_rate"],
            betas=(0.9, settings["beta2"]),
            schedule=WarmupCosine(min(settings["warmup_steps"], decay_steps), decay_steps),
            max_norm=1.0,
        )
        self.trainer = LanguageModelTrainer(
            model, corpus.tokenizer, optimizer, accumulate=settings["accumulate"], precision=settings["precision"]
        )
        self.next_batch = self.trainer.batches(self.training, self.block_size, self.batch_size)
        self.stopping = self.saving = self.interruptible = self.finished = False
        self._log: MetricsLog | None = None

    @property
    def log(self) -> MetricsLog:
        """The run's metrics file."""
        if self._log is None:
            self._log = MetricsLog(self.directory.path / METRICS, self.batch_size * self.block_size)
        return self._log

    def save(self) -> None:
        """Write metrics, then weights and training state. Raises ``OSError`` where it cannot; the checkpoint before is whole then."""
        with self._write():
            self.log.flush()
            save_checkpoint(self.directory.path, self.trainer)

    @contextmanager
    def _write(self) -> Iterator[None]:
        self.saving = True
        try:
            yield
        finally:
            self.saving = False

    def stop(self, at_once: bool = False) -> None:
        """Make `train` finish the current step, save, and return.

        Args:
            at_once: if the run is interruptible, raise `StopRun` instead; for signal handlers.
        """
        asked, self.stopping = self.stopping, True
        self.trainer.stopping = True
        if at_once and self.interruptible and not asked:
            raise StopRun

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """A block that `stop` may interrupt. Raises `StopRun` if it was called before."""
        self.interruptible = True
        try:
            if self.stopping:
                raise StopRun
            yield
        finally:
            self.interruptible = False

    def train(self, steps: int, console: Console) -> None:
        """Train until the optimizer has taken ``steps`` steps, save, evaluate on all held-out text, and report; or until `stop` is called.

        Every checkpoint is written before anything is measured, sampled or printed.

        Raises `InputError`, saying what fits, where a step does not fit in memory; otherwise as `Trainer.train`, and as `save`.
        """
        try:
            with suppress(StopRun):
                self._train(steps, console)
            return
        except MemoryError:
            pass  # left before what fits is tried: the error holds on to all that the step had computed
        raise does_not_fit(self.trainer, self.next_batch(), self.block_size)

    def _train(self, steps: int, console: Console) -> None:
        trainer = self.trainer
        with Progress(trainer.optimizer.steps, steps, self.batch_size * self.block_size, console=console) as bar:

            def on_records(records: list[StepRecord]) -> None:
                bar.advance(records)
                self.log.add(records)

            def on_eval(step: int) -> None:
                self.save()
                self._evaluate(step, bar)

            eval_steps = range(self.eval_every, steps, self.eval_every)  # the final evaluation follows the last step
            done = trainer.optimizer.steps
            if done in eval_steps and self.log.lacks_evaluation(done):  # the run was stopped during that evaluation
                self._evaluate(done, bar)
            if done < steps:
                try:
                    trainer.train(self.next_batch, steps, on_records, on_eval, eval_steps)
                except DivergedError:
                    self.log.flush()  # its steps show how it came to that
                    raise
                self.save()
            if trainer.optimizer.steps < steps:
                return
            with self._interruptible():
                bar.say("measuring on all held-out text ...")
                measured = self._measure()
                curve = self._curve(measured["loss"])
                drawn = self._draw(curve)
            with self._write():  # last, so that a resumed run repeats an evaluation that was cut short
                self.log.measured(measured)
            self.finished = True
        with self._interruptible():
            self._report(measured, curve, drawn, console)

    def _evaluate(self, step: int, bar: Progress) -> None:
        """Evaluate on some held-out text, log and show that, and show a sample; for a model that is saved."""
        with self._interruptible():
            measured = self._measure(_SOME)
        with self._write():
            self.log.measured(measured)
        with self._interruptible():
            bar.evaluated(step, measured)
            bar.say(f"  {' '.join(self.sample(55, seed=step).split())}")

    def _measure(self, most: int | None = None) -> dict[str, float]:
        """Evaluate on held-out text, all of it or so many windows. Raises `DivergedError` for what is not finite."""
        measured = self.trainer.evaluate(self.trainer.windows(self.held_out, self.block_size, most))
        if not math.isfinite(measured["loss"]):
            raise DivergedError("the loss on held-out text is not a finite number; use a smaller learning rate")
        return measured

    def sample(self, length: int, seed: int) -> str:
        """Text as the model writes it now, after the text's first word."""
        return self.trainer.generate_text(self.prompt, length, temperature=0.5, seed=seed)

    def _curve(self, last_loss: float) -> _Curve:
        """The arguments of `terminal_curve` and `save_loss_plot`, with the final validation loss."""
        rows = self.log.rows
        validation = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row} | {self.trainer.optimizer.steps: last_loss}
        return [row["step"] for row in rows], [row["train_loss"] for row in rows], list(validation), list(validation.values())

    def _draw(self, curve: _Curve) -> str:
        """Save the curve as a picture; returns a sentence that says where."""
        picture = self.directory.path / CURVE
        try:
            drawn = save_loss_plot(picture, *curve)
        except OSError as error:  # the run is complete without it
            return f"The curve could not be written to {picture} ({error.strerror or error})"
        return f"The curve is in {picture}" if drawn else "Install matplotlib to get the curve as a picture too"

    def _report(self, measured: dict[str, float], curve: _Curve, drawn: str, console: Console) -> None:
        show = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        show(terminal_curve(*curve, width=min(console.width, 100), height=12))
        show(f"Validation loss {measured['loss']:.3f} nats a token, accuracy {measured['accuracy']:.1%}, over all held-out text")
        show(drawn)
        show(f"\n{self.sample(400, seed=0)}\n")


def _check_length(tokens: int, block_size: int) -> None:
    """Raise `InputError` where the held-out part of a text, the shorter one, holds no window."""
    held_out = tokens - int(tokens * (1 - Fraction(str(VAL_SPLIT))))
    if held_out > block_size:
        return
    shorter = f"use --block-size {held_out - 1} or less, or give" if held_out > 1 else "give"
    enough = int(block_size / Fraction(str(VAL_SPLIT))) + 1
    raise InputError(
        f"the text has {tokens:,} tokens, and the {held_out:,} of them that are held out hold no window of --block-size {block_size:,}: "
        f"{shorter} a text of {enough:,} or more"
    )
