"""Streamers: one for each sequence (row) of a batch. It takes the tokens one by one and returns the new part of the result each time."""

from __future__ import annotations

from collections.abc import Collection

from tinytorch.text.protocol import Tokenizer

#: The replacement character, which tokenizers decode incomplete or invalid UTF-8 to.
_NO_CHARACTER = "\ufffd"


class TokenStreamer:
    """Streams the token ids of one row until a stop id.

    Args:
        stop_ids: ids that end the row.

    Attributes:
        done: whether the row has ended.

    Example:
        >>> from tinytorch.generation import TokenStreamer
        >>> streamer = TokenStreamer(stop_ids={0})
        >>> [streamer.put(token, last=False) for token in (5, 0, 7)]
        [[5], [], []]
    """

    def __init__(self, stop_ids: Collection[int]) -> None:
        self.done = False
        self._stop_ids = stop_ids

    def put(self, token: int, last: bool) -> list[int]:
        """Process a token; returns it in a list, or an empty list if the row has ended."""
        self.done = self.done or token in self._stop_ids
        return [] if self.done else [token]


class TextStreamer:
    """Streams the text of one row until a stop id or a stop text.

    Text that may be the beginning of a stop text, and an incomplete character, are held back until later tokens decide.

    Args:
        tokenizer: decodes the tokens.
        stop_ids: ids that end the row.
        stop_texts: texts that end the row; they are not in the result.

    Attributes:
        done: whether the row has ended.

    Example:
        >>> from tinytorch.generation import TextStreamer
        >>> from tinytorch.text import CharTokenizer
        >>> tokenizer = CharTokenizer().fit("to be")
        >>> streamer = TextStreamer(tokenizer, stop_ids=(), stop_texts=[" be"])
        >>> [streamer.put(token, last=False) for token in tokenizer.encode("to be")]
        ['t', 'o', '', '', '']
    """

    def __init__(self, tokenizer: Tokenizer, stop_ids: Collection[int], stop_texts: Collection[str]) -> None:
        self.done = False
        self._tokenizer = tokenizer
        self._stop_ids = stop_ids
        self._stop_texts = stop_texts
        self._ids: list[int] = []  # not decoded yet
        self._held = ""  # decoded, held back

    def put(self, token: int, last: bool) -> str:
        """Process a token; returns the new text, which may be empty.

        Args:
            token: the id.
            last: whether this is the row's last token: text that was held back is then returned, except an incomplete character.
        """
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
        cut = len(self._held) if last else len(self._held) - self._stop_prefix_length()
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def _stop_prefix_length(self) -> int:
        """The length of the longest suffix of the text held back that is a prefix of a stop text."""
        longest = max(map(len, self._stop_texts), default=0) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            if any(text.startswith(self._held[-count:]) for text in self._stop_texts):
                return count
        return 0
