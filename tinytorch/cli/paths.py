"""Paths as they are typed, checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def path(word: str) -> Path:
    """What was typed, as a path. An empty one, such as a script's variable that is not set, would stand for the current directory."""
    if not word:
        raise typer.BadParameter("the path is empty; give a path, or leave it out")
    return Path(word)


#: What an option or argument that is a path is read with: ``typer.Option(**PATH)``.
PATH: dict[str, Any] = {"parser": path}
