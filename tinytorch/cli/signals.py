"""Signals that end a command: SIGINT (Ctrl-C), SIGTERM, and SIGHUP (a closed terminal) on systems that have it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: SIGINT is missing because Python raises KeyboardInterrupt for it.
TERMINATION = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]

Handler = Callable[[int, FrameType | None], Any]


class Terminated(BaseException):
    """Raised by a termination signal, so that context managers can clean up."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by {signal.Signals(signum).name}")
        self.signum = signum


def exit_code(signum: int) -> int:
    """The exit code by which shells report a signal."""
    return 128 + signum


@contextmanager
def signal_handler(handler: Handler, signals: list[signal.Signals]) -> Iterator[None]:
    """Install a handler until the block ends.

    Ignored signals, such as SIGHUP under `nohup`, stay ignored. Outside the main thread, where Python does not allow handlers, this does
    nothing.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in signals}
    handled = [
        number for number, old in before.items() if old not in (signal.SIG_IGN, None)
    ]  # None: the handler was not installed by Python
    try:
        for number in handled:
            signal.signal(number, handler)
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def terminate(signum: int, frame: FrameType | None) -> None:
    """A handler that raises `Terminated` only once: a closing terminal may send SIGHUP twice, and the second must not interrupt cleanup."""
    for number in TERMINATION:
        signal.signal(number, signal.SIG_IGN)
    raise Terminated(signum)
