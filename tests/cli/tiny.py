"""A text and a tiny model for fast tests of the command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

TEXT = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n" * 12

TINY = ["--d-model", "16", "--num-heads", "2", "--num-layers", "1", "--block-size", "8", "--batch-size", "4", "--dropout", "0.1"]


@dataclass(frozen=True)
class Result:
    """Exit code and output of the command."""

    code: int
    out: str
    err: str


#: Runs the command in this process.
Command: TypeAlias = Callable[..., Result]
