"""The directory for files that can be created again, such as downloads."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path


def cache_directory() -> Path:
    """tinytorch's directory in the user's cache directory. It may not exist.

    ``$XDG_CACHE_HOME/tinytorch``, by default ``~/.cache/tinytorch``; on macOS ``~/Library/Caches/tinytorch``, and on Windows
    ``%LOCALAPPDATA%\\tinytorch\\Cache``. Raises OSError if the user has no home directory.
    """
    try:
        return _user_cache()
    except RuntimeError as error:  # of Path.home
        raise FileNotFoundError(errno.ENOENT, "the user has no home directory") from error


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tinytorch" / "Cache"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(xdg):  # the specification says to ignore relative paths
        return Path(xdg) / "tinytorch"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "tinytorch"
