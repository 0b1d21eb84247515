"""Results as they grow: one streamer a row takes each token and gives the new part of the result. The parts add up to the result."""

from __future__ import annotations

from collections.abc import Collection

from tinytorch.text.protocol import Tokenizer

#: What a tokenizer gives for bytes that are no character, such as the first half of one.
_NO_CHARACTER = "\ufffd"


class TokenStreamer:
    """Token ids, up to a stop id.

    Attributes:
        done: whether the row has ended.
    """

    def __init__(self, stop_ids: Collection[int]) -> None:
        self.done = False
        self._stop_ids = stop_ids

    def put(self, token: int, last: bool) -> list[int]:
        """The token, or nothing once the row has ended."""
        self.done = self.done or token in self._stop_ids
        return [] if self.done else [token]


class TextStreamer:
    """Text, up to a stop id or a stop text. What may be the beginning of a stop text, or half a character, is held back until it is known.

    Attributes:
        done: whether the row has ended.
    """

    def __init__(self, tokenizer: Tokenizer, stop_ids: Collection[int], stop_texts: Collection[str]) -> None:
        self.done = False
        self._tokenizer = tokenizer
        self._stop_ids = stop_ids
        self._stop_texts = stop_texts
        self._ids: list[int] = []  # not decoded yet
        self._held = ""  # decoded, held back

    def put(self, token: int, last: bool) -> str:
        """The text that a token completes, perhaps none; with the last token all that was held back, except half a character."""
        if self.done:
            return ""
        if token in self._stop_ids:
            self.done = last = True
        else:
            self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        if text.endswith(_NO_CHARACTER):
            if not last:
                return ""
            text = text[: -len(_NO_CHARACTER)]
        self._ids.clear()
        self._held += text
        ends = [end for end in map(self._held.find, self._stop_texts) if end >= 0]
        if ends:
            self.done = True
            return self._held[: min(ends)]
        cut = len(self._held) if last else len(self._held) - self._possible_stop()
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def _possible_stop(self) -> int:
        """How many characters at the end of what is held back may be the beginning of a stop text."""
        longest = max(map(len, self._stop_texts), default=0) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            if any(text.startswith(self._held[-count:]) for text in self._stop_texts):
                return count
        return 0
