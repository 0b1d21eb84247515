"""A training run of a language model from start to end, kept in a directory: checkpoints, metrics, samples and curve."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tinytorch.generation import generate
from tinytorch.io.errors import InputError
from tinytorch.training.checkpoint import load_checkpoint, save_checkpoint
from tinytorch.training.config import TrainingConfig
from tinytorch.training.corpus import AnyPath, Source, as_path
from tinytorch.training.engine import DivergedError, StepRecord
from tinytorch.training.language_model import evaluation_batches, random_batches
from tinytorch.training.memory import does_not_fit
from tinytorch.training.metrics_log import MetricsLog
from tinytorch.training.progress import Progress
from tinytorch.training.report import Curve, curve_of, draw, print_report
from tinytorch.training.run_directory import (
    CURVE,
    METRICS,
    RUNS,
    RunDirectory,
    RunWarning,
    check_free,
    claim_directory,
    lock_directory,
    newest_directory,
    require_writable,
)
from tinytorch.training.run_setup import Setup, make_trainer, set_up, set_up_again, split_tokens
from tinytorch.training.tokenizers import OnProgress, TokenizerChoice, silent

if TYPE_CHECKING:
    from rich.console import Console

#: Windows of the validation split in an evaluation before the last.
_SOME = 200


class StopRun(BaseException):
    """Interrupts an evaluation, a sample or a report, for which nothing is unsaved; see `Run.stop`."""


class Run:
    """A training run: `Run.start` or `Run.resume` makes one, `train` trains it.

    It holds the lock of its directory, so that no other process writes there, until `train` ends or it is closed; it is a context manager.

    Attributes:
        config: its settings.
        corpus: its text, in tokens.
        directory: where it is kept.
        model, tokenizer: what it trains, and what turns text into its tokens.
        trainer: the loop.
        prompt: the text's first word, which samples begin with.
        stopping: whether `stop` was called.
        saving: whether files are being written.
        interruptible: whether everything is saved and no step is running.
        finished: whether all steps and the final evaluation are done.
    """

    def __init__(self, setup: Setup, directory: Path) -> None:
        config, corpus, model = setup.config, setup.corpus, setup.model
        self.config, self.corpus, self.model, self.directory = config, corpus, model, directory
        self.tokenizer, self.prompt = corpus.tokenizer, corpus.prompt
        self.stopping = self.saving = self.interruptible = self.finished = False
        self.trainer = make_trainer(model, config)
        assert config.block_size is not None  # it is complete
        self._block_size: int = config.block_size
        training, self._validation = split_tokens(corpus.tokens)
        self._next_batch = random_batches(training, self._block_size, config.batch_size)
        self._tokens_per_step = config.batch_size * self._block_size
        self._lock: ExitStack | None = None
        self._log = MetricsLog(directory / METRICS, self._tokens_per_step)

    @classmethod
    def start(
        cls,
        config: TrainingConfig,
        file: AnyPath | None = None,
        *,
        text: str | None = None,
        directory: AnyPath | None = None,
        tokenizer: TokenizerChoice | None = None,
        vocab_size: int | None = None,
        init_from: AnyPath | None = None,
        on_progress: OnProgress = silent,
    ) -> Self:
        """Begin a new run on the current backend. Nothing is written before all arguments are known to be good.

        Args:
            config: its settings; its seed becomes that of the host generator.
            file: the text to learn from: a UTF-8 file, or one that `tinytorch.text.write_token_file` wrote.
            text: the text itself, in place of a file. Without either, it is the language reference that comes with Python.
            directory: where to keep the run; defaults to ``runs/NAME-001``, counting up.
            tokenizer: ``"char"``, the default, or ``"bpe"``, fitted to the text; a model's directory, for its own; or a tokenizer.
            vocab_size: tokens that ``"bpe"`` learns; defaults to 512.
            init_from: a pretrained model to continue from, with its tokenizer: a run's directory, or a GPT-2's.
            on_progress: called with what is being done, how much of it is done, and of how much, where it takes long.

        Raises:
            InputError: an argument cannot be used, the run would not fit in memory, or another process uses the directory.
        """
        path, source, pretrained = as_path(directory, "directory"), Source.of(file, text), as_path(init_from, "init_from")
        config.check_complete(pretrained is not None)
        if path is not None:
            check_free(path)
        require_writable(path or RUNS)
        setup = set_up(config, source, tokenizer, vocab_size, pretrained, on_progress)
        path = path or claim_directory(source.stem)
        with ExitStack() as lock:
            lock.enter_context(lock_directory(path))
            with RunDirectory.create(path, setup.content, setup.corpus.tokenizer):
                run = cls(setup, path)
                run._save()
            run._lock = lock.pop_all()
        return run

    @classmethod
    def resume(
        cls,
        directory: AnyPath | None = None,
        file: AnyPath | None = None,
        *,
        text: str | None = None,
        steps: int | None = None,
        decay_steps: int | None = None,
    ) -> Self:
        """Continue a run where it stopped, on the current backend, with the same results as if it had not stopped.

        Args:
            directory: the run's; defaults to the newest in ``runs``.
            file: where the run's text is now, if it has moved.
            text: the run's text itself, which is needed if it was not in a file.
            steps: where to stop; defaults to the run's own.
            decay_steps: step at which the decay of the learning rate ends; defaults to the run's own.

        Raises:
            InputError: there is no run, it has taken all its steps, a file of it is damaged, the text is another one, or another process
                uses the directory.
        """
        source = Source.of(file, text)
        opened = RunDirectory.open(as_path(directory, "directory") or newest_directory())
        with ExitStack() as lock:
            lock.enter_context(lock_directory(opened.path))
            run = cls(set_up_again(opened, source, steps, decay_steps), opened.path)
            load_checkpoint(opened.path, run.trainer)
            run._go_back(run.step)
            run._lock = lock.pop_all()
        return run

    def _go_back(self, done: int) -> None:
        """Have the metrics end at the checkpoint's step. Raises `InputError` if nothing is left to do."""
        unmeasured = done == self.config.steps and self._log.lacks_evaluation(done)  # it was stopped during the final evaluation
        if done >= self.config.steps and not unmeasured:
            raise InputError(f"{self.directory} has taken {done} steps already; set `steps` to more than {done}")
        lost = self._log.truncate(done)
        if lost:
            damage = f"{self._log.path} is damaged: the rows of {lost:,} of {done:,} steps are lost"
            warnings.warn(f"{damage}; the others are kept and the run continues", RunWarning, stacklevel=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the directory's lock; the model stays usable."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.trainer.optimizer.steps

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A dict for each step, as in ``metrics.jsonl``: ``step``, ``train_loss``, ``learning_rate``, ``gradient_norm``,
        ``tokens_per_second``, and where evaluated ``val_loss`` and ``val_accuracy``."""
        return self._log.rows

    def sample(self, prompt: str | None = None, max_length: int = 200, *, temperature: float = 0.5, **settings: Any) -> str:
        """A prompt and what the model writes after it.

        Args:
            prompt: defaults to the text's first word.
            max_length: tokens to write.
            temperature, settings: as for `tinytorch.text.generate`, such as ``seed``.
        """
        begin = self.prompt if prompt is None else prompt
        settings = {"tokenizer": self.tokenizer, "precision": self.config.precision, **settings}
        return begin + str(generate(self.model, begin, max_length, temperature=temperature, **settings))

    def stop(self, at_once: bool = False) -> None:
        """Make `train` finish the current step, save, and return.

        Args:
            at_once: if the run is interruptible, raise `StopRun` instead; for signal handlers.
        """
        asked, self.stopping = self.stopping, True
        self.trainer.stopping = True
        if at_once and self.interruptible and not asked:
            raise StopRun

    def train(self, *, progress: bool = True, console: Console | None = None) -> None:
        """Take the run's remaining steps, save, evaluate on the whole validation split, and report; or until `stop` is called.

        Every checkpoint is written before anything is evaluated, sampled or printed. At its end, or an error, the run is closed; after an
        error, or Ctrl-C in a notebook, `Run.resume` continues from the last checkpoint.

        Args:
            progress: show a bar, evaluations, samples and at the end a report.
            console: where to show them; defaults to standard output, or the notebook.

        Raises:
            InputError: the run is closed, or a step does not fit in memory, with what fits.
            DivergedError: the loss is not finite; the last checkpoint is whole.
            OSError: a file cannot be written; the last checkpoint is whole.
        """
        if self._lock is None:
            raise InputError(f"this run is closed; continue it with `Run.resume({str(self.directory)!r})`")
        with self:
            try:
                with suppress(StopRun):
                    self._train(progress, console)
                return
            except MemoryError:
                pass  # left before what fits is tried: the error holds on to all that the step had computed
            raise does_not_fit(self.trainer, self._next_batch(), self._block_size)

    def _train(self, progress: bool, console: Console | None) -> None:
        steps, trainer = self.config.steps, self.trainer
        with Progress(self.step, steps, self._tokens_per_step, shown=progress, console=console) as bar:

            def on_records(records: list[StepRecord]) -> None:
                bar.advance(records)
                self._log.add(records)

            def on_eval(step: int) -> None:
                self._save()
                self._evaluate(step, bar)

            eval_steps = range(self.config.eval_every, steps, self.config.eval_every)  # the final evaluation follows the last step
            if self.step in eval_steps and self._log.lacks_evaluation(self.step):  # the run was stopped during that evaluation
                self._evaluate(self.step, bar)
            if self.step < steps:
                try:
                    trainer.fit(self._next_batch, steps, on_records=on_records, on_eval=on_eval, eval_steps=eval_steps)
                except DivergedError:
                    self._log.flush()  # its steps show how it came to that
                    raise
                self._save()
            if self.step < steps:
                return
            with self._interruptible():
                bar.say("measuring on all held-out text ...")
                measured = self._measure()
                curve = curve_of(self.metrics, self.step, measured["loss"])
                drawn = draw(self.directory / CURVE, curve)
            with self._write():  # last, so that a resumed run repeats an evaluation that was cut short
                self._log.measured(measured)
            self.finished = True
        if progress:
            with self._interruptible():
                self._report(bar.console, curve, measured, drawn)

    def _report(self, console: Console, curve: Curve, measured: dict[str, float], drawn: str) -> None:
        print_report(console, curve, measured, drawn, self.sample(max_length=400, seed=0))

    def _evaluate(self, step: int, bar: Progress) -> None:
        """Evaluate on some of the validation split, log and show that, and show a sample; for a model that is saved."""
        with self._interruptible():
            measured = self._measure(_SOME)
        with self._write():
            self._log.measured(measured)
        with self._interruptible():
            bar.evaluated(step, measured)
            if bar.shown:
                bar.say(f"  {' '.join(self.sample(max_length=55, seed=step).split())}")

    def _measure(self, most: int | None = None) -> dict[str, float]:
        """Evaluate on the validation split, all of it or so many windows. Raises `DivergedError` if the loss is not finite."""
        measured = self.trainer.evaluate(evaluation_batches(self._validation, self._block_size, most))
        if not math.isfinite(measured["loss"]):
            raise DivergedError("the validation loss is not a finite number; use a smaller `learning_rate`")
        return measured

    def _save(self) -> None:
        """Write metrics, then weights and training state. Raises ``OSError`` where it cannot; the checkpoint before is whole then."""
        with self._write():
            self._log.flush()
            save_checkpoint(self.directory, self.trainer)

    @contextmanager
    def _write(self) -> Iterator[None]:
        self.saving = True
        try:
            yield
        finally:
            self.saving = False

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
