"""Reads data files, with a specific error for each reason why a file cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tinytorch.io.errors import InputError


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. Raises `InputError` if it is missing, not a regular file, or cannot be read."""
    try:
        if not path.exists():
            raise InputError(f"there is no file {path}: check the directory, or leave `data_dir` out to have the data downloaded")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file: pass the directory with the data files as `data_dir`")
        with path.open("rb") as file:
            yield file
    except PermissionError as error:
        raise InputError(f"{path} cannot be read (permission denied): allow it with `chmod u+r {path}`, or pass a copy") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): copy it here again from its source") from error


def read_bytes(path: Path) -> bytes:
    """Read a whole file. Raises `InputError` as `opened` does, and if the file is empty."""
    with opened(path) as file:
        data = file.read()
    if not data:
        raise InputError(f"{path} is empty: copy it here again from its source")
    return data


def checked_directory(directory: Path) -> Path:
    """Return the directory. Raises `InputError` if it is missing or not a directory."""
    if not directory.is_dir():
        what = "is a file, not a directory" if directory.exists() else "does not exist"
        raise InputError(f"{directory} {what}: pass the directory with the data files as `data_dir`")
    return directory
