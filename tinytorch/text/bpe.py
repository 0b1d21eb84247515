"""Byte-level byte-pair encoding: GPT-2's tokenizer, or one of its kind trained on a text. A host module.

Sennrich et al. 2016 (arXiv:1508.07909), on bytes (Radford et al. 2019, section 2.2), by the `tokenizers` library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy
from numpy.typing import NDArray

from tinytorch.errors import InputError
from tinytorch.text.tokenizer_files import broken_tokenizer_file, read_tokenizer_file, write_tokenizer_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

#: Every text can be written with these alone.
_BYTES = 256


class BPETokenizer:
    """Tokens are pieces of words, down to single bytes, so that every text has ids and comes back as it was.

    Make one with `train` or `from_gpt2`. Needs the `tokenizers` package (``pip install tokenizers``).

    Attributes:
        special_ids: the ids of special tokens, which stand for no text; a text that spells one is a text like others.
    """

    kind: ClassVar[str] = "bpe"

    def __init__(self, engine: Engine) -> None:
        engine.encode_special_tokens = True
        self._engine = engine
        self.special_ids: Sequence[int] = sorted(i for i, token in engine.get_added_tokens_decoder().items() if token.special)

    def __repr__(self) -> str:
        return f"BPETokenizer({self.get_vocab_size()} tokens)"

    @classmethod
    def train(cls, text: str, vocab_size: int) -> BPETokenizer:
        """Learn the ``vocab_size`` tokens, 256 bytes among them, that write a text shortest.

        Raises:
            InputError: there is no text, or ``vocab_size`` leaves no room beside the bytes.
        """
        tokenizers = _library()
        if not text:
            raise InputError("there is no text to train a tokenizer on: give at least one character")
        if vocab_size <= _BYTES:
            raise InputError(f"a byte-pair vocabulary has {_BYTES} bytes to begin with: give more than that, got {vocab_size}")
        engine = _byte_level(tokenizers, tokenizers.models.BPE())
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
        engine.train_from_iterator(text.splitlines(keepends=True), trainer)
        return cls(engine)

    @classmethod
    def from_gpt2(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """The tokenizer in a GPT-2 directory: ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``.

        Raises:
            InputError: there is neither, or they are broken.
        """
        tokenizers = _library()
        directory = Path(path)
        whole, vocab, merges = directory / "tokenizer.json", directory / "vocab.json", directory / "merges.txt"
        try:
            if whole.exists():
                return cls(tokenizers.Tokenizer.from_file(str(whole)))
            if vocab.exists() and merges.exists():
                return cls(_byte_level(tokenizers, tokenizers.models.BPE.from_file(str(vocab), str(merges))))
        except Exception as error:  # the library raises plain Exceptions
            raise InputError(f"the tokenizer in {directory} cannot be used ({error}): restore its files from a copy") from error
        raise InputError(f"there is no tokenizer in {directory}: it needs tokenizer.json, or vocab.json and merges.txt")

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises ValueError for an empty one."""
        if not isinstance(text, str):
            raise TypeError(f"encode takes a str and was given {type(text).__name__}")
        if not text:
            raise InputError("there is no text to encode: give at least one character")
        ids: list[int] = self._engine.encode(text, add_special_tokens=False).ids
        return ids

    def encode_array(self, text: str) -> NDArray[numpy.int64]:
        """The ids of a text, such as a whole corpus, as a host array of shape (N,). Raises ValueError as `encode` does."""
        return numpy.asarray(self.encode(text), dtype=numpy.int64)

    def decode(self, ids: Sequence[int] | NDArray[Any], skip_special_tokens: bool = True) -> str:
        """The text of a row of ids; bytes that are no character come out as U+FFFD. Raises ValueError for an id outside the vocabulary."""
        row = numpy.asarray(ids)
        if row.size == 0:
            return ""
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise ValueError(f"decode takes one row of whole numbers and was given {row.dtype} of shape {row.shape}: decode row by row")
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= self.get_vocab_size():
            wrong = low if low < 0 else high
            raise ValueError(f"token id {wrong} lies outside the vocabulary of {self.get_vocab_size()}: is this the model's own tokenizer?")
        return str(self._engine.decode(row.tolist(), skip_special_tokens=skip_special_tokens))

    def get_vocab_size(self) -> int:
        """How many ids there are."""
        return int(self._engine.get_vocab_size())

    def unknown_characters(self, text: str) -> list[str]:
        """None: every character has bytes."""
        return []

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file, whole or not at all. Raises OSError if it cannot be written."""
        write_tokenizer_file(path, self.kind, {"tokenizer": json.loads(self._engine.to_str())})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """Read what `save` wrote. Raises InputError, a ValueError, for a file that is missing, broken or not a BPETokenizer's."""
        content = read_tokenizer_file(path, kind=cls.kind)
        try:
            return cls(_library().Tokenizer.from_str(json.dumps(content["tokenizer"])))
        except InputError:
            raise
        except Exception as error:  # the library raises plain Exceptions
            raise broken_tokenizer_file(path, "its fields are damaged") from error


def _library() -> Any:
    """The `tokenizers` package."""
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise InputError("byte-pair encoding needs the tokenizers package: type `pip install tokenizers`") from error
    return tokenizers


def _byte_level(tokenizers: Any, model: Any) -> Any:
    """An engine that works on the bytes of words as GPT-2's does."""
    engine = tokenizers.Tokenizer(model)
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = tokenizers.decoders.ByteLevel()
    return engine
