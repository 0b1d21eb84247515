"""A character tokenizer. Runs on the CPU: ids are computed by table lookup in numpy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.io.files import atomic_write_text
from tinytorch.text.tokenizer_files import broken_tokenizer_file, dump_tokenizer, parse_tokenizer, read_tokenizer_file

PAD_TOKEN = "<PAD>"
UNKNOWN_TOKEN = "<UNK>"


class CharTokenizer:
    """A tokenizer with one token for each character of the text that it was fitted on.

    The ids of special tokens come first (by default `<PAD>` is 0 and `<UNK>` is 1), then those of the characters by code point, so the same
    text gives the same ids on every machine. `encode` never returns special tokens for their names: `encode("<PAD>")` returns five
    characters. Characters that are not in the vocabulary are encoded as `<UNK>`.

    Args:
        vocab_size: maximum number of ids, including special tokens; the most frequent characters are kept, and of equally frequent ones
            those with the smallest code points. None keeps all characters.
        special_tokens: names of the special tokens in the order of their ids. `<PAD>` and `<UNK>` are prepended if missing.

    Raises:
        ValueError: a special token is empty or repeated, or `vocab_size` is too small for any character.

    Example:
        >>> from tinytorch.text import CharTokenizer
        >>> tokenizer = CharTokenizer().fit("to be or not to be")
        >>> tokenizer.encode("to be")
        [8, 6, 2, 3, 4]
        >>> tokenizer.decode([8, 6, 2, 3, 4])
        'to be'
    """

    kind: ClassVar[str] = "char"

    def __init__(self, vocab_size: int | None = None, special_tokens: Sequence[str] | None = None) -> None:
        names = [] if special_tokens is None else list(special_tokens)
        missing = [token for token in (PAD_TOKEN, UNKNOWN_TOKEN) if token not in names]
        self.special_tokens: list[str] = missing + names
        self.vocab_size = vocab_size
        if any(not isinstance(token, str) or not token for token in names) or len(set(names)) != len(names):
            raise ValueError(f"special_tokens must be distinct, non-empty strings, got {names}: list each one once")
        if vocab_size is not None and vocab_size <= len(self.special_tokens):
            raise ValueError(
                f"vocab_size={vocab_size} is too small for {len(self.special_tokens)} special tokens and a character: "
                f"use at least {len(self.special_tokens) + 1}, or None for all characters"
            )
        self.pad_id = self.special_tokens.index(PAD_TOKEN)
        self.unknown_id = self.special_tokens.index(UNKNOWN_TOKEN)
        self._code_points: NDArray[numpy.uint32] | None = None  # of the characters, in the order of their ids
        self._ids: NDArray[numpy.int64] | None = None  # by code point; the last element is for all larger code points

    @property
    def special_ids(self) -> Sequence[int]:
        """The ids of the special tokens."""
        return range(len(self.special_tokens))

    def __repr__(self) -> str:
        state = "unfitted" if self._code_points is None else f"{self.get_vocab_size()} tokens"
        return f"CharTokenizer({state}, special_tokens={self.special_tokens})"

    def fit(self, text: str) -> CharTokenizer:
        """Replace the vocabulary by the characters of `text`; returns the tokenizer. Raises ValueError for an empty text."""
        _require_text(text, "fit")
        kept = Counter(text).most_common() if self.vocab_size is not None else [(character, 1) for character in set(text)]
        if self.vocab_size is not None:
            kept.sort(key=lambda pair: (-pair[1], pair[0]))
            kept = kept[: self.vocab_size - len(self.special_tokens)]
        self._learn(sorted(ord(character) for character, _ in kept))
        return self

    def encode(self, text: str) -> list[int]:
        """The token ids of a text. Raises ValueError for an empty text or an unfitted tokenizer."""
        ids: list[int] = self.encode_array(text).tolist()
        return ids

    def encode_array(self, text: str) -> NDArray[numpy.int64]:
        """The token ids of a text, such as a whole corpus, as a numpy array of shape (N,). Raises ValueError as `encode` does."""
        _, ids = self._fitted("encode")
        _require_text(text, "encode")
        beyond = len(ids) - 1
        return ids[numpy.minimum(_code_points(text), beyond)]

    def encode_batch(self, texts: Sequence[str], max_length: int | None = None, padding: bool = True) -> NDArray[numpy.int64]:
        """The token ids of several texts as one numpy array.

        Args:
            texts: B texts.
            max_length: the length L of the rows: longer texts are truncated at the end. Defaults to the length of the longest text.
            padding: pad shorter texts with `<PAD>` at the end. Without padding all texts must have the same length.

        Returns:
            Integers of shape (B, L).

        Raises:
            ValueError: there are no texts, a text is empty, `max_length` is not positive, or lengths differ without padding.
        """
        if isinstance(texts, str):
            raise ValueError("encode_batch expects a list of texts, got a str: use encode(text), or encode_batch([text])")
        if len(texts) == 0:
            raise InputError("encode_batch got no texts: pass at least one")
        if max_length is not None and max_length < 1:
            raise InputError(f"max_length must be at least 1, got {max_length}")
        rows = [self.encode_array(text)[:max_length] for text in texts]
        lengths = {len(row) for row in rows}
        if padding:
            width = max_length if max_length is not None else max(lengths)
        elif len(lengths) == 1:
            width = lengths.pop()
        else:
            raise InputError(f"the texts have from {min(lengths)} to {max(lengths)} tokens: use padding=True to pad all rows to one length")
        batch = numpy.full((len(rows), width), self.pad_id, dtype=numpy.int64)
        for row, ids in zip(batch, rows, strict=True):
            row[: len(ids)] = ids
        return batch

    def decode(self, ids: Sequence[int] | NDArray[Any], skip_special_tokens: bool = True) -> str:
        """The text of a sequence of ids, shape (N,); empty for no ids.

        Special tokens are left out, or included by name with `skip_special_tokens=False`.

        Raises:
            ValueError: the ids are not a 1-d sequence of integers, or an id is outside the vocabulary.
        """
        code_points, _ = self._fitted("decode")
        row = numpy.asarray(ids)
        if row.size == 0:
            return ""
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise ValueError(f"decode expects a 1-d sequence of integers, got {row.dtype} of shape {row.shape}: decode each row separately")
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= self.get_vocab_size():
            wrong = low if low < 0 else high
            raise ValueError(f"token id {wrong} is outside the vocabulary of {self.get_vocab_size()} tokens: use the model's own tokenizer")
        first = len(self.special_tokens)
        if skip_special_tokens or low >= first:
            return _text(code_points[row[row >= first] - first])
        return "".join(self.special_tokens[i] if i < first else chr(code_points[i - first]) for i in row.tolist())

    def get_vocab_size(self) -> int:
        """The number of ids, including special tokens. Raises ValueError for an unfitted tokenizer."""
        code_points, _ = self._fitted("get_vocab_size")
        return len(self.special_tokens) + len(code_points)

    def unknown_characters(self, text: str) -> list[str]:
        """The distinct characters of `text` that are encoded as `<UNK>`, in order of appearance; the text may be empty."""
        code_points, _ = self._fitted("unknown_characters")
        known = set(code_points.tolist())
        return [character for character in dict.fromkeys(text) if ord(character) not in known]

    def to_json(self) -> str:
        """The tokenizer as JSON. Raises ValueError for an unfitted tokenizer."""
        code_points, _ = self._fitted("save")
        characters = [chr(code_point) for code_point in code_points.tolist()]
        return dump_tokenizer(self.kind, {"vocab_size": self.vocab_size, "special_tokens": self.special_tokens, "characters": characters})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file atomically. Raises ValueError for an unfitted tokenizer, OSError if writing fails."""
        atomic_write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharTokenizer:
        """Read a file that `save` wrote. Raises InputError, a ValueError, for a file that is missing, invalid or not a CharTokenizer's."""
        return cls.from_json(read_tokenizer_file(path), path)

    @classmethod
    def from_json(cls, text: str, path: str | os.PathLike[str]) -> CharTokenizer:
        """Create a tokenizer from the JSON of `to_json`; ``path`` is named in errors. Raises InputError if the JSON is invalid."""
        content = parse_tokenizer(text, path, kind=cls.kind)
        try:
            tokenizer = cls(content["vocab_size"], content["special_tokens"])
            code_points = [ord(character) for character in content["characters"]]
        except (KeyError, TypeError, ValueError) as error:
            raise broken_tokenizer_file(path, "its fields are invalid") from error
        if not code_points or any(a >= b for a, b in pairwise(code_points)):
            raise broken_tokenizer_file(path, "its characters are invalid")
        tokenizer._learn(code_points)
        return tokenizer

    def _learn(self, code_points: list[int]) -> None:
        """Build both tables from code points in increasing order."""
        first = len(self.special_tokens)
        self._code_points = numpy.asarray(code_points, dtype=numpy.uint32)
        self._ids = numpy.full(code_points[-1] + 2, self.unknown_id, dtype=numpy.int64)
        self._ids[self._code_points] = numpy.arange(first, first + len(code_points))

    def _fitted(self, method: str) -> tuple[NDArray[numpy.uint32], NDArray[numpy.int64]]:
        """The two tables. Raises ValueError for an unfitted tokenizer."""
        if self._code_points is None or self._ids is None:
            raise ValueError(f"{method} needs a fitted CharTokenizer: call fit(text) first")
        return self._code_points, self._ids


def _require_text(text: str, method: str) -> None:
    """Raise TypeError unless ``text`` is a str, and InputError if it is empty."""
    if not isinstance(text, str):
        raise TypeError(f"{method} expects a str, got {type(text).__name__}")
    if not text:
        raise InputError(f"there is no text to {method}: pass at least one character")


def _code_points(text: str) -> NDArray[numpy.uint32]:
    """The code points of a text, which may contain lone surrogates."""
    return numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _text(code_points: NDArray[numpy.uint32]) -> str:
    """The inverse of `_code_points`."""
    return code_points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
