"""Standard output that may end before what is written to it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class OutputError(Exception):
    """Standard output failed; ``state`` says what became of the work."""

    def __init__(self, error: OSError, state: str) -> None:
        super().__init__(f"standard output cannot be written ({error.strerror or error}). {state}")


class LastingOutput:
    """Standard output for a run that is not to be lost with it, when a reader such as `head` ends, a disk is full, a terminal is closed.

    Args:
        stream: where to write.
        on_error: called once, when writing has failed; what is written after that goes nowhere.

    Attributes:
        error: why writing failed.
    """

    def __init__(self, stream: Any, on_error: Callable[[], object]) -> None:
        self.error: OSError | None = None
        self._stream = stream
        self._on_error = on_error

    def write(self, text: str) -> int:
        """Write, if that still works."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if that still works."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[[], object]) -> None:
        if self.error is None:
            try:
                do()
            except OSError as error:
                self.error = error
                self._on_error()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_standard_streams() -> None:
    """Open those of standard input, output and error that the command was started without (`>&-`), so that they lead nowhere.

    Otherwise a file that is opened later would get their number, and what libraries print would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - to the end of the process


def flush_output() -> None:
    """Write what was not yet written, or where that fails send it nowhere: Python would try again as it ends, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):  # what stands in for it need not be a file
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
