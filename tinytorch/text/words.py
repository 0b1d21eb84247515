"""Splits long texts at word boundaries, so that a tokenizer can encode them in parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: One space or newline between two words: the pre-tokenizers of GPT-2 and similar models always split there.
_BREAK = re.compile(r"(?<=\S)[ \n](?=\S)")
#: Maximum number of characters without a word boundary; a longer text is cut anywhere, because encoding it would block Ctrl-C for seconds.
_LONGEST = 2**18


def whole_words(chunks: Iterable[str]) -> Iterator[str]:
    """Split a text into parts at word boundaries: the concatenated tokens of the parts equal the tokens of the whole text."""
    kept = ""
    for chunk in chunks:
        text = kept + chunk
        cut = _last_break(text) or (0 if len(text) < _LONGEST else len(text))
        kept = text[cut:]
        if cut:
            yield text[:cut]
    if kept:
        yield kept


def _last_break(text: str) -> int:
    """The index of the space before the last word; 0 if there is only one word."""
    width = 256
    while True:
        start = max(0, len(text) - width)
        found = [match.start() for match in _BREAK.finditer(text, start)]
        if found or start == 0:
            return found[-1] if found else 0
        width *= 16
