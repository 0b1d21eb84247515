"""Suggestions for misspelled names, for error messages."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return ``"; did you mean X?"`` for the candidate that is most similar to ``name``, or ``""`` if none is similar.

    Names that differ only in upper case, ``_`` or a trailing ``_`` are similar.

    Example:
        >>> from tinytorch.suggestions import suggest
        >>> suggest("Liner", ["Linear", "ReLU"])
        '; did you mean Linear?'
    """
    from difflib import get_close_matches  # imported on first use: needed for errors only

    by_key = {_key(candidate): candidate for candidate in sorted(candidates)}
    close = get_close_matches(_key(name), by_key, n=1)
    return f"; did you mean {by_key[close[0]]}?" if close else ""


def _key(name: str) -> str:
    return name.lower().replace("_", "")
