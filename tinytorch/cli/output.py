"""Handle a standard output that is closed or fails while a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class OutputError(Exception):
    """Standard output cannot be written; ``state`` is a sentence about what was saved."""

    def __init__(self, error: OSError, state: str) -> None:
        super().__init__(f"standard output cannot be written ({error.strerror or error}). {state}")


class TolerantOutput:
    """A wrapper for a stream that does not raise OSError. After the first error, all output is discarded.

    So a run does not end with an error if a reader such as `head` has exited, the disk of a log file is full, or the terminal was closed.

    Args:
        stream: the stream to write to.
        on_error: called once, after the first error.

    Attributes:
        error: the first error, or None.
    """

    def __init__(self, stream: Any, on_error: Callable[[], object]) -> None:
        self.error: OSError | None = None
        self._stream = stream
        self._on_error = on_error

    def write(self, text: str) -> int:
        """Write the text, unless there was an error before."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, unless there was an error before."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if self.error is None:
            try:
                action()
            except OSError as error:
                self.error = error
                self._on_error()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_standard_streams() -> None:
    """Open the null device for each standard stream that was closed when the command was started (`>&-`).

    Otherwise a file that is opened later would get the descriptor of the stream, and output would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # returns the lowest free descriptor, which is `number`
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - stays open until the process ends


def flush_output() -> None:
    """Flush standard output and error. If that fails, discard the output, because Python would try again and print an error at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):  # the stream may have no descriptor
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
