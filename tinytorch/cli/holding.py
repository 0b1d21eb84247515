"""A directory that a subcommand writes in, and no other process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, files: Iterable[str]) -> Iterator[None]:
    """`hold_directory`, with a warning where the file system cannot lock."""
    from tinytorch.training.run_directory import hold_directory

    with hold_directory(path, files) as reason:
        if reason is not None:
            warn(f"{path} cannot be locked ({reason}): start no second process there, since it would not be refused")
        yield


def warn(sentence: str) -> None:
    """Say on standard error what does not end the command."""
    print(f"warning: {sentence}", file=sys.stderr, flush=True)
