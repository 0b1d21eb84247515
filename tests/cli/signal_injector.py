"""Runs the command and sends it a signal at a reproducible point.

``python signal_injector.py KIND TRIGGER SIGNALS REPORT ARGUMENTS...``, where ARGUMENTS are those of the command. KIND selects the events
to count:

- ``calls``: calls of Python functions of tinytorch in the main thread;
- ``files``: operations on files in the run directory, such as open, fsync or rename; the signal is sent before the operation.

At event number TRIGGER the process sends itself the SIGNALS (numbers separated by commas). For each of the following it writes a line
with the current event count to the file REPORT: ``step`` (a batch is drawn), ``save``, ``evaluate`` and ``report`` (these functions are
called), ``signal``, and ``end``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import tinytorch
from tinytorch.cli import main
from tinytorch.training import Trainer, language_model, run

ROOT = str(Path(tinytorch.__file__).parent)


class EventCounter:
    """Counts events, and sends the signals at one of them."""

    def __init__(self, trigger: int, signals: list[int], report: Path) -> None:
        self.count = 0
        self._trigger = trigger
        self._signals = signals
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def log(self, name: str) -> None:
        os.write(self._report, f"{name} {self.count}\n".encode())

    def next(self) -> None:
        self.count += 1
        if self.count == self._trigger:
            self.log("signal")
            for signum in self._signals:
                os.kill(os.getpid(), signum)


def count_calls(events: EventCounter) -> None:
    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOT):
            events.next()

    sys.setprofile(profile)


def count_file_operations(events: EventCounter, directory: str) -> None:
    changes = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.utime", "os.chmod"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (event == "open" or event in changes) and isinstance(arguments[0], str | os.PathLike):
            path = os.path.abspath(os.fspath(arguments[0]))
            if path == directory or path.startswith(directory + os.sep):
                events.next()

    sys.addaudithook(hook)
    fsync = os.fsync

    def flushed(descriptor: Any) -> None:
        events.next()
        fsync(descriptor)

    os.fsync = flushed


def log_calls(events: EventCounter, name: str, owner: Any, attribute: str) -> None:
    """Write a line to the report for each call of a function."""
    original: Callable[..., Any] = getattr(owner, attribute)

    def call(*args: Any, **kwargs: Any) -> Any:
        events.log(name)
        return original(*args, **kwargs)

    setattr(owner, attribute, call)


if __name__ == "__main__":
    kind, trigger, signals, report, *arguments = sys.argv[1:]
    events = EventCounter(int(trigger), [int(signum) for signum in signals.split(",")], Path(report))
    log_calls(events, "step", language_model, "random_windows")
    log_calls(events, "save", run, "save_checkpoint")
    log_calls(events, "evaluate", Trainer, "evaluate")
    log_calls(events, "report", run.Run, "_report")
    if kind == "calls":
        count_calls(events)
    else:
        count_file_operations(events, os.path.abspath(arguments[arguments.index("--out") + 1]))
    code = main(arguments)
    sys.setprofile(None)
    events.log("end")
    sys.exit(code)
