"""Standard output that may be closed or fail while a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class OutputError(Exception):
    """Standard output cannot be written; ``state`` says what has been saved."""

    def __init__(self, error: OSError, state: str) -> None:
        super().__init__(f"standard output cannot be written ({error.strerror or error}). {state}")


class TolerantOutput:
    """A stream that raises no OSError: after the first one, whatever is written is discarded.

    A run must not be lost because `head` has read enough, the disk under a log is full, or the terminal was closed.

    Args:
        stream: where to write.
        on_error: called once, after the first error.

    Attributes:
        error: the first error.
    """

    def __init__(self, stream: Any, on_error: Callable[[], object]) -> None:
        self.error: OSError | None = None
        self._stream = stream
        self._on_error = on_error

    def write(self, text: str) -> int:
        """Write unless writing has failed before."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush unless writing has failed before."""
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
    """Open the null device for each of standard input, output and error that was closed when the command was started (`>&-`).

    Otherwise a file that is opened later would get its descriptor, and libraries would print into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the process ends


def flush_output() -> None:
    """Flush standard output and error; discard what cannot be written, because Python would try again and complain when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):  # the stream may be an object without a descriptor
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
