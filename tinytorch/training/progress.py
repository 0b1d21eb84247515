"""A progress bar for training: step, loss, speed, remaining time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tinytorch.training.engine import StepRecord

if TYPE_CHECKING:
    from rich.console import Console


class Progress:
    """Shows the progress of training in the terminal; a context manager.

    Args:
        done: number of steps already taken.
        total: total number of steps.
        per_step: number of tokens or images per step, to compute the speed.
        shown: whether to show anything.
        console: where to print; defaults to standard output.
        title: label in front of the step number.
        unit: what ``per_step`` counts.
    """

    def __init__(
        self,
        done: int,
        total: int,
        per_step: int,
        shown: bool = True,
        console: Console | None = None,
        title: str = "step",
        unit: str = "tokens",
    ) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn

        self.per_step = per_step
        self.unit = unit
        self.console = console or RichConsole()
        self.shown = shown
        self._bar = Bar(
            TextColumn(title, markup=False),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not shown,
        )
        self._task = self._bar.add_task("train", total=total, completed=done, loss="-", speed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, records: Sequence[StepRecord]) -> None:
        """Show finished steps."""
        if records:
            last = records[-1]
            speed = self.per_step / last.seconds if last.seconds else 0.0
            self._bar.update(self._task, completed=last.step, loss=f"{last.train_loss:.3f}", speed=f"{speed:,.0f} {self.unit}/s")

    def print_evaluation(self, step: int, measured: Mapping[str, float]) -> None:
        """Print the metrics of an evaluation on the validation split."""
        self.print(f"step {step:,}: validation " + ", ".join(f"{name} {value:.3f}" for name, value in measured.items()))

    def print(self, text: str) -> None:
        """Print text above the bar, without markup."""
        if self.shown:
            self.console.print(text, markup=False, highlight=False)
