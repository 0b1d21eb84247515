"""How far a command is with what takes a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from rich.console import Console
from rich.progress import Progress

#: Told how much is done, and of how much.
Advance: TypeAlias = Callable[[float, float], None]

#: Seconds between two lines where there is no terminal.
_PAUSE = 10.0


class Waiting:
    """Shows progress on standard error: a bar on a terminal, of which nothing is left behind, and elsewhere a line every ten seconds.

    Used as a context manager.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, Advance] = {}

    def __enter__(self) -> Waiting:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def task(self, title: str) -> Advance:
        """Begin something; the function that is returned is told of its progress."""
        task = self._bar.add_task(title, total=None)
        told = time.monotonic()

        def advance(done: float, total: float) -> None:
            nonlocal told
            self._bar.update(task, completed=done, total=total)
            if self._bar.disable and time.monotonic() - told >= _PAUSE:
                told = time.monotonic()
                self.say(f"{title}: {done / total:.0%}" if total else title)

        return advance

    def report(self, title: str, done: float, total: float) -> None:
        """The progress of something, which begins with a line that says so."""
        if title not in self._tasks:
            self.say(f"{title.capitalize()} ...")
            self._tasks[title] = self.task(title)
        self._tasks[title](done, total)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
