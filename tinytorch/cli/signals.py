"""Signals that end the command: Ctrl-C, SIGTERM and, where the system has it, SIGHUP, which a closed terminal sends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: SIGTERM and SIGHUP, without SIGINT, which Python raises as KeyboardInterrupt.
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]

Handler = Callable[[int, FrameType | None], Any]


class Ended(BaseException):
    """A signal that ends the command, raised wherever it is, so that what was begun is cleaned up."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by {signal.Signals(signum).name}")
        self.signum = signum


def exit_code(signum: int) -> int:
    """What shells make of a signal: 128 and its number."""
    return 128 + signum


@contextmanager
def handled(signals: list[signal.Signals], handler: Handler) -> Iterator[None]:
    """Have ``handler`` called for signals until the block ends.

    Those that whoever started the command has it ignore, such as `nohup` does, stay ignored; in a thread, where Python allows no
    handlers, nothing is changed.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in signals}
    taken = [number for number, old in before.items() if old not in (signal.SIG_IGN, None)]  # None: set by other than Python
    try:
        for number in taken:
            signal.signal(number, handler)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def end(signum: int, frame: FrameType | None) -> None:
    """A handler that raises `Ended`, once: a closed terminal sends its signal twice, and the second is not to cut the cleaning short."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise Ended(signum)
