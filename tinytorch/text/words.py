"""Long texts in parts, so that a tokenizer need not see the whole at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: One space or new line between two words: GPT-2's tokenizer, and its like, always begin a piece there.
_BREAK = re.compile(r"(?<=\S)[ \n](?=\S)")
#: What has no such place in so many characters is cut where it happens to end: a tokenizer, which Ctrl-C waits for, would take seconds.
_LONGEST = 2**18


def whole_words(chunks: Iterable[str]) -> Iterator[str]:
    """The same text in parts that end between words: tokens of the parts, one after another, are those of the whole text."""
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
    """Where the last word begins, with the space before it; 0 where there is only one."""
    width = 256
    while True:
        start = max(0, len(text) - width)
        found = [match.start() for match in _BREAK.finditer(text, start)]
        if found or start == 0:
            return found[-1] if found else 0
        width *= 16
