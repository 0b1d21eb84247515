"""Signals that end a command: SIGINT (Ctrl-C), SIGTERM, and SIGHUP (a closed terminal) where the system has it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: Without SIGINT, for which Python raises KeyboardInterrupt.
TERMINATION = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]

Handler = Callable[[int, FrameType | None], Any]


class Terminated(BaseException):
    """Raised when a signal ends the command, so that context managers clean up."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by {signal.Signals(signum).name}")
        self.signum = signum


def exit_code(signum: int) -> int:
    """The exit code that stands for a signal in shells."""
    return 128 + signum


@contextmanager
def signal_handler(handler: Handler, signals: list[signal.Signals]) -> Iterator[None]:
    """Install a handler until the block ends.

    Signals that are ignored, as SIGHUP under `nohup`, stay ignored. Outside the main thread, where Python allows no handlers, nothing is
    installed.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in signals}
    taken = [number for number, old in before.items() if old not in (signal.SIG_IGN, None)]  # None: a handler that Python did not install
    try:
        for number in taken:
            signal.signal(number, handler)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def terminate(signum: int, frame: FrameType | None) -> None:
    """A handler that raises `Terminated` once: a closed terminal may send SIGHUP twice, and the second must not interrupt the cleanup."""
    for number in TERMINATION:
        signal.signal(number, signal.SIG_IGN)
    raise Terminated(signum)
