"""Print the library's warnings about a run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def printed_warnings() -> Iterator[None]:
    """Print each `RunWarning` to standard error, as one line; other warnings stay as they are."""
    from tinytorch.training.run_directory import RunWarning  # imported here so that --help is fast

    show = warnings.showwarning

    def print_or_show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
    ) -> None:
        if issubclass(category, RunWarning):
            print(f"warning: {message}", file=sys.stderr, flush=True)
        else:
            show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RunWarning)
        warnings.showwarning = print_or_show
        yield
