"""A tokenizer that gives every character an id. A host module: ids are computed by table look-up in numpy."""

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
    """One token for each character of the text it was fitted on.

    Special tokens come first (`<PAD>` is 0 and `<UNK>` is 1 unless you say otherwise), then the characters in the order of their code
    points, so the same text gives the same ids on every machine. Special tokens are never read out of a text: `encode("<PAD>")` gives
    five characters. A character that was not seen maps to `<UNK>`.

    Args:
        vocab_size: at most this many ids, special tokens included; the most frequent characters are kept, ties by code point. None
            keeps every character.
        special_tokens: names of ids that stand for no character, in the order of their ids. `<PAD>` and `<UNK>` are put in front where
            they are missing.

    Raises:
        ValueError: the special tokens are empty or repeated, or `vocab_size` leaves no room for a character.

    Examples:
        >>> tokenizer = CharTokenizer().fit("to be or not to be")
        >>> tokenizer.decode(tokenizer.encode("to be"))
        'to be'
    """

    kind: ClassVar[str] = "char"

    def __init__(self, vocab_size: int | None = None, special_tokens: Sequence[str] | None = None) -> None:
        given = [] if special_tokens is None else list(special_tokens)
        missing = [token for token in (PAD_TOKEN, UNKNOWN_TOKEN) if token not in given]
        self.special_tokens: list[str] = missing + given
        self.vocab_size = vocab_size
        if any(not isinstance(token, str) or not token for token in given) or len(set(given)) != len(given):
            raise ValueError(f"special_tokens must be distinct names, and they are {given}: give each one once")
        if vocab_size is not None and vocab_size <= len(self.special_tokens):
            raise ValueError(
                f"vocab_size={vocab_size} leaves no room for a character beside {len(self.special_tokens)} special tokens: "
                f"give at least {len(self.special_tokens) + 1}, or None for every character"
            )
        self.pad_id = self.special_tokens.index(PAD_TOKEN)
        self.unknown_id = self.special_tokens.index(UNKNOWN_TOKEN)
        self._code_points: NDArray[numpy.uint32] | None = None  # of the characters, in the order of their ids
        self._ids: NDArray[numpy.int64] | None = None  # by code point, with one more entry for all that lie beyond

    @property
    def special_ids(self) -> Sequence[int]:
        """The ids of the special tokens."""
        return range(len(self.special_tokens))

    def __repr__(self) -> str:
        state = "unfitted" if self._code_points is None else f"{self.get_vocab_size()} tokens"
        return f"CharTokenizer({state}, special_tokens={self.special_tokens})"

    def fit(self, text: str) -> CharTokenizer:
        """Learn the characters of `text`, in place of any learnt before, and return the tokenizer. Raises ValueError for no text."""
        _require_text(text, "fit")
        kept = Counter(text).most_common() if self.vocab_size is not None else [(character, 1) for character in set(text)]
        if self.vocab_size is not None:
            kept.sort(key=lambda entry: (-entry[1], entry[0]))
            kept = kept[: self.vocab_size - len(self.special_tokens)]
        self._learn(sorted(ord(character) for character, _ in kept))
        return self

    def encode(self, text: str) -> list[int]:
        """The ids of a text's characters. Raises ValueError for an empty text or an unfitted tokenizer."""
        ids: list[int] = self.encode_array(text).tolist()
        return ids

    def encode_array(self, text: str) -> NDArray[numpy.int64]:
        """The ids of a text, such as a whole corpus, as a host array of shape (N,). Raises ValueError as `encode` does."""
        _, ids = self._fitted("encode")
        _require_text(text, "encode")
        beyond = len(ids) - 1
        return ids[numpy.minimum(_code_points(text), beyond)]

    def encode_batch(self, texts: Sequence[str], max_length: int | None = None, padding: bool = True) -> NDArray[numpy.int64]:
        """The ids of several texts as one host array.

        Args:
            texts: B texts.
            max_length: the length L of every row: longer texts are cut at the end, shorter ones padded. None takes the longest text's.
            padding: fill short rows with `<PAD>` at the end. Without it all rows must come out equally long.

        Returns:
            Shape (B, L).

        Raises:
            ValueError: there are no texts, one is empty, `max_length` is not positive, or rows differ in length without padding.
        """
        if isinstance(texts, str):
            raise ValueError("encode_batch takes a list of texts and was given one: use encode(text), or encode_batch([text])")
        if len(texts) == 0:
            raise InputError("encode_batch was given no texts: give at least one")
        if max_length is not None and max_length < 1:
            raise InputError(f"max_length must be at least 1, and it is {max_length}")
        rows = [self.encode_array(text)[:max_length] for text in texts]
        lengths = {len(row) for row in rows}
        if padding:
            width = max_length if max_length is not None else max(lengths)
        elif len(lengths) == 1:
            width = lengths.pop()
        else:
            raise InputError(f"the texts encode to rows of {min(lengths)} to {max(lengths)} tokens: use padding=True to make them equal")
        batch = numpy.full((len(rows), width), self.pad_id, dtype=numpy.int64)
        for row, ids in zip(batch, rows, strict=True):
            row[: len(ids)] = ids
        return batch

    def decode(self, ids: Sequence[int] | NDArray[Any], skip_special_tokens: bool = True) -> str:
        """The text of a row of ids, shape (N,); no ids give no text.

        Special tokens are left out, or written by name with `skip_special_tokens=False`.

        Raises:
            ValueError: the ids are not one row of whole numbers, or one lies outside the vocabulary.
        """
        code_points, _ = self._fitted("decode")
        row = numpy.asarray(ids)
        if row.size == 0:
            return ""
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise ValueError(f"decode takes one row of whole numbers and was given {row.dtype} of shape {row.shape}: decode row by row")
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= self.get_vocab_size():
            wrong = low if low < 0 else high
            raise ValueError(f"token id {wrong} lies outside the vocabulary of {self.get_vocab_size()}: is this the model's own tokenizer?")
        first = len(self.special_tokens)
        if skip_special_tokens or low >= first:
            return _text(code_points[row[row >= first] - first])
        return "".join(self.special_tokens[i] if i < first else chr(code_points[i - first]) for i in row.tolist())

    def get_vocab_size(self) -> int:
        """How many ids there are, special tokens included. Raises ValueError for an unfitted tokenizer."""
        code_points, _ = self._fitted("get_vocab_size")
        return len(self.special_tokens) + len(code_points)

    def unknown_characters(self, text: str) -> list[str]:
        """The distinct characters of `text` that map to `<UNK>`, in order of appearance; none for an empty text."""
        code_points, _ = self._fitted("unknown_characters")
        known = set(code_points.tolist())
        return [character for character in dict.fromkeys(text) if ord(character) not in known]

    def to_json(self) -> str:
        """The tokenizer as JSON. Raises ValueError if unfitted."""
        code_points, _ = self._fitted("save")
        characters = [chr(code_point) for code_point in code_points.tolist()]
        return dump_tokenizer(self.kind, {"vocab_size": self.vocab_size, "special_tokens": self.special_tokens, "characters": characters})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file, whole or not at all. Raises ValueError if unfitted, OSError if it cannot be written."""
        atomic_write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharTokenizer:
        """Read what `save` wrote. Raises InputError, a ValueError, for a file that is missing, broken or not a CharTokenizer's."""
        return cls.from_json(read_tokenizer_file(path), path)

    @classmethod
    def from_json(cls, text: str, path: str | os.PathLike[str]) -> CharTokenizer:
        """Make a tokenizer of what `to_json` gave; ``path`` is where that came from. Raises InputError for anything else."""
        content = parse_tokenizer(text, path, kind=cls.kind)
        try:
            tokenizer = cls(content["vocab_size"], content["special_tokens"])
            code_points = [ord(character) for character in content["characters"]]
        except (KeyError, TypeError, ValueError) as error:
            raise broken_tokenizer_file(path, "its fields are damaged") from error
        if not code_points or any(a >= b for a, b in pairwise(code_points)):
            raise broken_tokenizer_file(path, "its characters are damaged")
        tokenizer._learn(code_points)
        return tokenizer

    def _learn(self, code_points: list[int]) -> None:
        """Build both tables from code points in increasing order."""
        first = len(self.special_tokens)
        self._code_points = numpy.asarray(code_points, dtype=numpy.uint32)
        self._ids = numpy.full(code_points[-1] + 2, self.unknown_id, dtype=numpy.int64)
        self._ids[self._code_points] = numpy.arange(first, first + len(code_points))

    def _fitted(self, wish: str) -> tuple[NDArray[numpy.uint32], NDArray[numpy.int64]]:
        """The two tables, or the error that says how to get them."""
        if self._code_points is None or self._ids is None:
            raise ValueError(f"this CharTokenizer has learnt no characters yet, so it cannot {wish}: call fit(text) first")
        return self._code_points, self._ids


def _require_text(text: str, wish: str) -> None:
    """Refuse what is no text, and a text with nothing in it."""
    if not isinstance(text, str):
        raise TypeError(f"{wish} takes a str and was given {type(text).__name__}")
    if not text:
        raise InputError(f"there is no text to {wish}: give at least one character")


def _code_points(text: str) -> NDArray[numpy.uint32]:
    """Every character as a number, lone surrogates included."""
    return numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _text(code_points: NDArray[numpy.uint32]) -> str:
    """The inverse of `_code_points`."""
    return code_points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
