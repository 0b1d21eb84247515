"""Paths as they are typed, checked before any work."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import typer

from tinytorch.io.errors import InputError


def path(word: str) -> Path:
    """What was typed, as a path. An empty one, such as a script's variable that is not set, would stand for the current directory."""
    if not word:
        raise typer.BadParameter("the path is empty; give a path, or leave it out")
    return Path(word)


#: What an option or argument that is a path is read with: ``typer.Option(**PATH)``.
PATH: dict[str, Any] = {"parser": path}


def check_writable(place: Path, what: str) -> None:
    """Raise `InputError` where a file or directory cannot be made at ``place``, with the parents that are missing.

    Args:
        place: what is to be made, or is a directory to write into.
        what: what to choose another one of, such as ``"directory"``.
    """
    there = next(path for path in (place.absolute(), *place.absolute().parents) if os.path.exists(path))
    if not os.path.isdir(there):
        reason = errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = errno.EACCES
    else:
        return
    raise InputError(f"{place} cannot be written ({os.strerror(reason)}); choose another {what} with --out")
