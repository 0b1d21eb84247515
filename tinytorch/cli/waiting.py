"""A bar for what takes a while, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress


def progress() -> Progress:
    """Used as a context manager; it goes to standard error, leaves nothing behind, and shows nothing where that is no terminal."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
