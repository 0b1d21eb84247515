"""The lock on the directory that a subcommand writes to, and warnings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked_directory(path: Path, files: Iterable[str]) -> Iterator[None]:
    """`lock_directory`, with a warning if the file system does not support locks."""
    from tinytorch.training.run_directory import lock_directory

    with lock_directory(path, files) as reason:
        if reason is not None:
            warn(f"{path} cannot be locked ({reason}): do not start a second process there, because it would not be refused")
        yield


def warn(sentence: str) -> None:
    """Print a warning to standard error."""
    print(f"warning: {sentence}", file=sys.stderr, flush=True)
