"""Runs the command, and sends it a signal at a moment that does not depend on time.

``python moments.py KIND MOMENT SIGNALS REPORT WORDS...`` with the words of the command. KIND says what a moment is:

- ``calls``: a call of a Python function of tinytorch, in the main thread;
- ``files``: an operation on a file or directory in the run's directory, such as open, fsync or rename; the signal comes before it.

At the MOMENT-th one the process sends itself the SIGNALS, numbers with commas between them. REPORT, a file, gets a line for each event
with the number of moments so far: ``step`` when a batch is drawn, ``save``, ``evaluate`` and ``report`` when those begin, ``signal``, and
``end``.
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


class Moments:
    """Counts moments, and sends the signal at one of them."""

    def __init__(self, moment: int, signals: list[int], report: Path) -> None:
        self.count = 0
        self._moment = moment
        self._signals = signals
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def say(self, name: str) -> None:
        os.write(self._report, f"{name} {self.count}\n".encode())

    def next(self) -> None:
        self.count += 1
        if self.count == self._moment:
            self.say("signal")
            for signum in self._signals:
                os.kill(os.getpid(), signum)


def count_calls(moments: Moments) -> None:
    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOT):
            moments.next()

    sys.setprofile(profile)


def count_file_operations(moments: Moments, directory: str) -> None:
    changes = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.utime", "os.chmod"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (event == "open" or event in changes) and isinstance(arguments[0], str | os.PathLike):
            path = os.path.abspath(os.fspath(arguments[0]))
            if path == directory or path.startswith(directory + os.sep):
                moments.next()

    sys.addaudithook(hook)
    fsync = os.fsync

    def flushed(descriptor: Any) -> None:
        moments.next()
        fsync(descriptor)

    os.fsync = flushed


def tell(moments: Moments, name: str, owner: Any, attribute: str) -> None:
    """Have calls of a function reported."""
    original: Callable[..., Any] = getattr(owner, attribute)

    def call(*args: Any, **kwargs: Any) -> Any:
        moments.say(name)
        return original(*args, **kwargs)

    setattr(owner, attribute, call)


if __name__ == "__main__":
    kind, moment, signals, report, *words = sys.argv[1:]
    moments = Moments(int(moment), [int(signum) for signum in signals.split(",")], Path(report))
    tell(moments, "step", language_model, "random_windows")
    tell(moments, "save", run, "save_checkpoint")
    tell(moments, "evaluate", Trainer, "evaluate")
    tell(moments, "report", run.Run, "_report")
    if kind == "calls":
        count_calls(moments)
    else:
        count_file_operations(moments, os.path.abspath(words[words.index("--out") + 1]))
    code = main(words)
    sys.setprofile(None)
    moments.say("end")
    sys.exit(code)
