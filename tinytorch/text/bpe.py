"""Byte-level byte-pair encoding: GPT-2's tokenizer, or one of its kind trained on a text. A host module.

Sennrich et al. 2016 (arXiv:1508.07909), on bytes (Radford et al. 2019, section 2.2), by the `tokenizers` library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy
from numpy.typing import NDArray

from tinytorch.errors import InputError
from tinytorch.files import atomic_write_text
from tinytorch.text.tokenizer_files import broken_tokenizer_file, dump_tokenizer, parse_tokenizer, read_tokenizer_file
from tinytorch.text.words import whole_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

#: Every text can be written with these alone.
_BYTES = 256
#: What ends a document in GPT-2's vocabulary.
_END = "<|endoftext|>"
#: A long text is encoded in parts of so many characters, so many of them at a time.
_PART, _PARTS = 2**15, 16
#: A text that a tokenizer which is not ours might not give back.
_TRIAL = "a  b\n\n c\tÀé 🐢 don't  \r\n"


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
    def train(cls, text: str | Iterable[str], vocab_size: int) -> BPETokenizer:
        """Learn the ``vocab_size`` tokens, 256 bytes among them, that write a text shortest; it may come in parts.

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
        parts = [text] if isinstance(text, str) else text
        engine.train_from_iterator((line for part in parts for line in part.splitlines(keepends=True)), trainer)
        return cls(engine)

    @classmethod
    def from_gpt2(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """The tokenizer in a GPT-2 directory: ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``.

        Raises:
            InputError: there is neither, they are broken, or texts would not come back as they were.
        """
        tokenizers = _library()
        directory = Path(path)
        whole, vocab, merges = directory / "tokenizer.json", directory / "vocab.json", directory / "merges.txt"
        try:
            if whole.exists():
                return _exact(cls(tokenizers.Tokenizer.from_file(str(whole))), whole)
            if vocab.exists() and merges.exists():
                engine = _byte_level(tokenizers, tokenizers.models.BPE.from_file(str(vocab), str(merges)))
                # these files do not say so of the one special token that GPT-2 has
                engine.add_special_tokens([name for name in [_END] if engine.token_to_id(name) is not None])
                return _exact(cls(engine), vocab)
        except InputError:
            raise
        except Exception as error:  # the library raises plain Exceptions
            raise InputError(f"the tokenizer in {directory} cannot be used ({error}): restore its files from a copy") from error
        raise InputError(f"there is no tokenizer in {directory}: it needs tokenizer.json, or vocab.json and merges.txt")

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises ValueError for an empty one."""
        if not isinstance(text, str):
            raise TypeError(f"encode takes a str and was given {type(text).__name__}")
        if not text:
            raise InputError("there is no text to encode: give at least one character")
        ids: list[int] = self._encoded([text]).tolist()
        return ids

    def encode_array(self, text: str) -> NDArray[numpy.int64]:
        """The ids of a text, such as a whole corpus, as a host array of shape (N,). Raises ValueError as `encode` does."""
        if not isinstance(text, str) or not text:
            return numpy.asarray(self.encode(text), dtype=numpy.int64)  # which says what is wrong
        parts = list(whole_words(text[i : i + _PART] for i in range(0, len(text), _PART)))
        # some at a time: what the library makes of a part is a hundred times larger than its ids
        batches = [self._encoded(parts[i : i + _PARTS]) for i in range(0, len(parts), _PARTS)]
        return numpy.concatenate(batches)

    def _encoded(self, parts: list[str]) -> NDArray[numpy.int64]:
        """The ids of several parts, one after another; the library works on them in threads."""
        try:
            encoded = self._engine.encode_batch_fast(parts, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError("the text holds half of a surrogate pair, which is no character: leave it out") from error
        return numpy.concatenate([numpy.asarray(one.ids, dtype=numpy.int64) for one in encoded])

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

    def to_json(self) -> str:
        """The tokenizer as JSON."""
        return dump_tokenizer(self.kind, {"tokenizer": json.loads(self._engine.to_str())})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file, whole or not at all. Raises OSError if it cannot be written."""
        atomic_write_text(path, self.to_json())

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json`` into a directory, for `transformers` and `from_gpt2`. Raises OSError if it cannot be written."""
        directory = Path(path)
        directory.mkdir(parents=True, exist_ok=True)
        atomic_write_text(directory / "tokenizer.json", self._engine.to_str(pretty=True))
        atomic_write_text(directory / "tokenizer_config.json", json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """Read what `save` wrote. Raises InputError, a ValueError, for a file that is missing, broken or not a BPETokenizer's."""
        return cls.from_json(read_tokenizer_file(path), path)

    @classmethod
    def from_json(cls, text: str, path: str | os.PathLike[str]) -> BPETokenizer:
        """Make a tokenizer of what `to_json` gave; ``path`` is where that came from. Raises InputError for anything else."""
        content = parse_tokenizer(text, path, kind=cls.kind)
        try:
            return cls(_library().Tokenizer.from_str(json.dumps(content["tokenizer"])))
        except InputError:
            raise
        except Exception as error:  # the library raises plain Exceptions
            raise broken_tokenizer_file(path, "its fields are damaged") from error


def _exact(tokenizer: BPETokenizer, path: Path) -> BPETokenizer:
    """The tokenizer itself. Raises `InputError` where texts do not come back as they were: a normalizer, a space in front."""
    if tokenizer.decode(tokenizer.encode(_TRIAL)) != _TRIAL:
        raise InputError(f"the tokenizer in {path} changes texts, and GPT-2's does not: is it another model's?")
    return tokenizer


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
