"""A training run of a language model in a directory: checkpoints, metrics, samples and loss curve."""

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
from tinytorch.training.memory import out_of_memory_error
from tinytorch.training.metrics_log import MetricsLog
from tinytorch.training.progress import Progress
from tinytorch.training.report import Curve, make_curve, print_report, save_curve
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
from tinytorch.training.run_setup import Setup, make_trainer, set_up, set_up_resumed, split_tokens
from tinytorch.training.tokenizers import OnProgress, TokenizerChoice, no_progress

if TYPE_CHECKING:
    from rich.console import Console

#: Number of windows of the validation split in every evaluation but the final one.
_EVAL_WINDOWS = 200


class StopRun(BaseException):
    """Raised to interrupt an evaluation, a sample or a report, during which everything is saved already; see `Run.stop`."""


class Run:
    """A training run of a language model, created by `Run.start` or `Run.resume` and trained by `train`.

    A run locks its directory against other processes until `train` returns or `close` is called. It is a context manager.

    Attributes:
        config: the settings.
        corpus: the tokenized text.
        directory: the run directory.
        model: the model.
        tokenizer: the model's tokenizer.
        trainer: the training loop.
        prompt: the first word of the text, the default prompt of samples.
        stopping: whether `stop` was called.
        saving: whether files are being written.
        interruptible: whether everything is saved and no step is running.
        finished: whether all steps and the final evaluation are done.

    Example:
        >>> import tempfile
        >>> from tinytorch.training import Run, TrainingConfig
        >>> config = TrainingConfig.from_preset("nano", d_model=8, num_heads=2, num_layers=1, block_size=8, batch_size=2, steps=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = Run.start(config, text="to be or not to be. " * 9, directory=folder)
        ...     run.train(progress=False)
        >>> run.step, run.finished, [row["step"] for row in run.metrics]
        (3, True, [1, 2, 3])
    """

    def __init__(self, setup: Setup, directory: Path) -> None:
        config, corpus, model = setup.config, setup.corpus, setup.model
        self.config, self.corpus, self.model, self.directory = config, corpus, model, directory
        self.tokenizer, self.prompt = corpus.tokenizer, corpus.prompt
        self.stopping = self.saving = self.interruptible = self.finished = False
        self.trainer = make_trainer(model, config)
        assert config.block_size is not None  # the config is complete
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
        on_progress: OnProgress = no_progress,
    ) -> Self:
        """Start a new run on the current backend. All arguments are validated before anything is written.

        Args:
            config: the settings. ``config.seed`` seeds the CPU random generator.
            file: the training text: a UTF-8 text file or a token file of `tinytorch.text.write_token_file`.
            text: the training text itself. If neither ``file`` nor ``text`` is given, the text is the Python language reference.
            directory: the run directory; defaults to ``runs/NAME-001``, with the next free number.
            tokenizer: ``"char"`` (the default) or ``"bpe"``, fitted to the text; the directory of a model, to use its tokenizer; or a
                tokenizer.
            vocab_size: vocabulary size of ``"bpe"``; defaults to 512.
            init_from: a pretrained model to start from, with its tokenizer: a run directory or a GPT-2 directory.
            on_progress: called with a task name, the amount done, and the total during slow operations.

        Returns:
            The run, before its first step. Its first checkpoint is saved and its directory is locked.

        Raises:
            InputError: if an argument is invalid, the run does not fit in memory, or another process uses the directory.
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
        """Resume a run from its last checkpoint, on the current backend. The results are those of an uninterrupted run.

        Args:
            directory: the run directory; defaults to the newest in ``runs``.
            file: the training text, if its file has moved.
            text: the training text itself; required if the run was started with ``text``.
            steps: new total number of steps; defaults to that of the run.
            decay_steps: step at which the learning-rate decay ends; defaults to that of the run.

        Returns:
            The run, with the state of its last checkpoint. Its directory is locked.

        Raises:
            InputError: if there is no run, it is already finished, a file is damaged, the text differs, or another process uses the
                directory.
        """
        source = Source.of(file, text)
        opened = RunDirectory.open(as_path(directory, "directory") or newest_directory())
        with ExitStack() as lock:
            lock.enter_context(lock_directory(opened.path))
            run = cls(set_up_resumed(opened, source, steps, decay_steps), opened.path)
            load_checkpoint(opened.path, run.trainer)
            run._rewind_metrics(run.step)
            run._lock = lock.pop_all()
        return run

    def _rewind_metrics(self, done: int) -> None:
        """Drop the metrics after the checkpoint's step. Raises `InputError` if the run is finished."""
        unevaluated = done == self.config.steps and self._log.lacks_evaluation(done)  # stopped during the final evaluation
        if done >= self.config.steps and not unevaluated:
            raise InputError(f"{self.directory} has already taken {done} steps; set `steps` to more than {done}")
        lost = self._log.truncate(done)
        if lost:
            damage = f"{self._log.path} is damaged: the rows of {lost:,} of {done:,} steps are lost"
            warnings.warn(f"{damage}; the others are kept and the run continues", RunWarning, stacklevel=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock of the directory. The model stays usable."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return self.trainer.optimizer.steps

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One dict per step, as in ``metrics.jsonl``: ``step``, ``train_loss``, ``learning_rate``, ``gradient_norm``,
        ``tokens_per_second``, and, for steps with an evaluation, ``val_loss`` and ``val_accuracy``."""
        return self._log.rows

    def sample(self, prompt: str | None = None, max_length: int = 200, *, temperature: float = 0.5, **settings: Any) -> str:
        """Generate text with the model.

        Args:
            prompt: defaults to the first word of the training text.
            max_length: maximum number of tokens to generate.
            temperature: sampling temperature; 0 is greedy.
            **settings: arguments of `tinytorch.generation.generate`, such as ``seed``.

        Returns:
            The prompt and the generated text.
        """
        prompt = self.prompt if prompt is None else prompt
        settings = {"tokenizer": self.tokenizer, "precision": self.config.precision, **settings}
        return prompt + str(generate(self.model, prompt, max_length, temperature=temperature, **settings))

    def stop(self, immediately: bool = False) -> None:
        """Request that `train` finishes the current step, saves, and returns.

        Args:
            immediately: if the run is `interruptible`, raise `StopRun` instead of waiting; for signal handlers.
        """
        already_stopping, self.stopping = self.stopping, True
        self.trainer.stopping = True
        if immediately and self.interruptible and not already_stopping:
            raise StopRun

    def train(self, *, progress: bool = True, console: Console | None = None) -> None:
        """Take the remaining steps, save, evaluate on the whole validation split, and print a report.

        Stops early if `stop` is called. Each checkpoint is written before anything is evaluated, sampled or printed. The run is closed
        when this returns or raises. After an error, or Ctrl-C in a notebook, `Run.resume` continues from the last checkpoint.

        Args:
            progress: whether to show a progress bar, evaluations, samples and the final report.
            console: where to show them; defaults to standard output, or the notebook.

        Raises:
            InputError: if the run is closed, or a step does not fit in memory; the message then names sizes that fit.
            DivergedError: if the loss is not finite; the last checkpoint stays intact.
            OSError: if a file cannot be written; the last checkpoint stays intact.
        """
        if self._lock is None:
            raise InputError(f"this run is closed; resume it with `Run.resume({str(self.directory)!r})`")
        with self:
            try:
                with suppress(StopRun):
                    self._train(progress, console)
                return
            except MemoryError:
                pass  # leave this block first: the error keeps the arrays of the failed step alive
            raise out_of_memory_error(self.trainer, self._next_batch(), self._block_size)

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
            if self.step in eval_steps and self._log.lacks_evaluation(self.step):  # stopped during that evaluation
                self._evaluate(self.step, bar)
            if self.step < steps:
                try:
                    trainer.fit(self._next_batch, steps, on_records=on_records, on_eval=on_eval, eval_steps=eval_steps)
                except DivergedError:
                    self._log.flush()  # so that the log shows the steps before the divergence
                    raise
                self._save()
            if self.step < steps:
                return
            with self._interruptible():
                bar.print("evaluating on the whole validation split ...")
                measured = self._measure()
                curve = make_curve(self.metrics, self.step, measured["loss"])
                curve_message = save_curve(self.directory / CURVE, curve)
            with self._write():  # last, so that a resumed run repeats an interrupted evaluation
                self._log.add_evaluation(measured)
            self.finished = True
        if progress:
            with self._interruptible():
                self._report(bar.console, curve, measured, curve_message)

    def _report(self, console: Console, curve: Curve, measured: dict[str, float], curve_message: str) -> None:
        print_report(console, curve, measured, curve_message, self.sample(max_length=400, seed=0))

    def _evaluate(self, step: int, bar: Progress) -> None:
        """Evaluate on a part of the validation split, log and show the metrics, and show a sample. Call this after saving."""
        with self._interruptible():
            measured = self._measure(_EVAL_WINDOWS)
        with self._write():
            self._log.add_evaluation(measured)
        with self._interruptible():
            bar.print_evaluation(step, measured)
            if bar.shown:
                bar.print(f"  {' '.join(self.sample(max_length=55, seed=step).split())}")

    def _measure(self, max_windows: int | None = None) -> dict[str, float]:
        """Evaluate on the validation split, or on ``max_windows`` of it. Raises `DivergedError` if the loss is not finite."""
        measured = self.trainer.evaluate(evaluation_batches(self._validation, self._block_size, max_windows))
        if not math.isfinite(measured["loss"]):
            raise DivergedError("the validation loss is not finite; use a smaller `learning_rate`")
        return measured

    def _save(self) -> None:
        """Write the metrics, then the checkpoint. Raises ``OSError`` on failure; the previous checkpoint then stays intact."""
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
        """Let `stop` interrupt this block. Raises `StopRun` if it was already called."""
        self.interruptible = True
        try:
            if self.stopping:
                raise StopRun
            yield
        finally:
            self.interruptible = False
