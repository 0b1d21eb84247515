"""Show the progress of slow operations."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from rich.console import Console
from rich.progress import Progress

#: Called with the amount done and the total.
Advance: TypeAlias = Callable[[float, float], None]

#: Seconds between two lines if standard error is not a terminal.
_INTERVAL = 10.0


class ProgressBars:
    """Shows progress on standard error; a context manager.

    On a terminal it shows progress bars, which are removed at the end. Otherwise it prints a line every ten seconds.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, Advance] = {}

    def __enter__(self) -> ProgressBars:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def task(self, title: str) -> Advance:
        """Start a task. Returns the function to call with its progress."""
        task = self._bar.add_task(title, total=None)
        last_printed = time.monotonic()

        def advance(done: float, total: float) -> None:
            nonlocal last_printed
            self._bar.update(task, completed=done, total=total)
            if self._bar.disable and time.monotonic() - last_printed >= _INTERVAL:
                last_printed = time.monotonic()
                self.print(f"{title}: {done / total:.0%}" if total else title)

        return advance

    def report(self, title: str, done: float, total: float) -> None:
        """Report the progress of a task; the first call prints its title."""
        if title not in self._tasks:
            self.print(f"{title.capitalize()} ...")
            self._tasks[title] = self.task(title)
        self._tasks[title](done, total)

    def print(self, line: str) -> None:
        """Print a line above the bars."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
