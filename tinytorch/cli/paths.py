"""Parse path arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def path(argument: str) -> Path:
    """Convert an argument to a path. An empty string, such as an unset shell variable, is rejected; `Path` reads it as ``.``."""
    if not argument:
        raise typer.BadParameter("the path is empty; pass a path, or leave it out")
    return Path(argument)


#: Keyword arguments for options and arguments that are paths: ``typer.Option(**PATH)``.
PATH: dict[str, Any] = {"parser": path}
