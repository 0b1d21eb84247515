"""Byte-level byte-pair encoding: GPT-2's tokenizer, or a tokenizer of this type that is trained on a text. Runs on the CPU.

Sources: Sennrich et al. 2016 (arXiv:1508.07909); on bytes, Radford et al. 2019, section 2.2. Implemented with the `tokenizers` package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.io.files import atomic_write_text, refuse_run, sole_writer
from tinytorch.text.bpe_training import learn_byte_pairs
from tinytorch.text.engines import ReadingSettings, library, make_engine, no_panics, split_settings, with_settings
from tinytorch.text.gpt2_tokenizer import read_gpt2_tokenizer
from tinytorch.text.tokenizer_files import broken_tokenizer_file, dump_tokenizer, parse_tokenizer, read_tokenizer_file
from tinytorch.text.words import whole_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

#: Number of byte tokens, which can express every text.
_BYTES = 256
#: A long text is encoded in parts of this many characters, and in batches of parts of this many characters in all.
_PART, _AT_ONCE = 2**15, 2**19
#: The replacement character, which invalid UTF-8 is decoded to.
_NO_CHARACTER = "\ufffd"
#: A text that decodes differently with a tokenizer that is not GPT-2's, such as one with a normalizer or an added prefix space.
_TEST_TEXT = "a  b\n\n c\tÀé 🐢 don't  \r\n"


class BPETokenizer:
    """A byte-level BPE tokenizer: tokens are subwords down to single bytes, so that ``decode(encode(text)) == text`` for every text.

    Create one with `train` or `from_gpt2`. Requires the `tokenizers` package (``pip install tokenizers``).

    Attributes:
        special_ids: ids that `generate` never chooses: those of special tokens, and unused ids. `encode` never returns special tokens: if
            the text contains the name of one, the name is encoded like other text.

    Example:
        >>> from tinytorch.text import BPETokenizer
        >>> tokenizer = BPETokenizer.train("to be or not to be, that is the question " * 9, vocab_size=270)
        >>> tokenizer.decode(tokenizer.encode("to be 🐢"))
        'to be 🐢'
    """

    kind: ClassVar[str] = "bpe"

    def __init__(self, engine: Engine, settings: ReadingSettings | None = None) -> None:
        self._engine = engine
        self._settings = settings or {}  # kept for `save_pretrained`, so that `transformers` reads them again
        self._known: set[str] = set()  # characters that the vocabulary is known to express
        self._unknown_id = engine.token_to_id(getattr(engine.model, "unk_token", None) or "")
        ids = set(engine.get_vocab().values())
        self._size = max(ids, default=-1) + 1
        special = {i for i, token in engine.get_added_tokens_decoder().items() if token.special}
        self.special_ids: Sequence[int] = sorted(special | (set(range(self._size)) - ids))

    def __repr__(self) -> str:
        return f"BPETokenizer({self.get_vocab_size()} tokens)"

    @classmethod
    def train(
        cls, text: str | Iterable[str], vocab_size: int, on_merges: Callable[[int, int], None] = lambda done, total: None
    ) -> BPETokenizer:
        """Train a tokenizer of 256 byte tokens and the most frequent byte pairs of a text.

        Args:
            text: the training text, or an iterable of its parts.
            vocab_size: maximum number of tokens; a short text has too few repeated pairs to reach it.
            on_merges: progress callback, called with the number of learned merges and their total. Not called if the version of
                the tokenizers package does not report progress.

        Raises:
            InputError: the text is empty, or ``vocab_size`` is at most 256.
        """
        library()
        if not text:
            raise InputError("there is no text to train a tokenizer on: pass at least one character")
        if vocab_size <= _BYTES:
            raise InputError(f"`vocab_size` must be greater than {_BYTES}, the number of byte tokens of a BPE vocabulary, got {vocab_size}")
        return cls(make_engine(learn_byte_pairs([text] if isinstance(text, str) else text, vocab_size, on_merges)))

    @classmethod
    def from_gpt2(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """Read the tokenizer in a GPT-2 directory: ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``.

        Raises:
            InputError: the files are missing or invalid, or the tokenizer does not reproduce texts exactly.
        """
        library()
        directory = Path(path)
        try:
            content = read_gpt2_tokenizer(directory)
            tokenizer = None if content is None else cls(make_engine(content), split_settings(content)[1])
            exact = tokenizer is not None and _is_exact(tokenizer)
        except Exception as error:  # the library raises plain Exceptions
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else error
            raise InputError(f"the tokenizer in {directory} cannot be used ({reason}): restore its files from a copy") from error
        if tokenizer is None:
            raise InputError(f"there is no tokenizer in {directory}: it needs tokenizer.json, or vocab.json and merges.txt")
        if not exact:
            raise InputError(
                f"the tokenizer in {directory} does not decode to the text that was encoded: pass a directory with GPT-2's tokenizer"
            )
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """The token ids of a text. Raises ValueError for an empty text, and for characters that are not in the vocabulary."""
        if not isinstance(text, str):
            raise TypeError(f"encode expects a str, got {type(text).__name__}")
        if not text:
            raise InputError("there is no text to encode: pass at least one character")
        self._require_known(text)
        ids: list[int] = self._encoded([text]).tolist()
        return ids

    def encode_array(self, text: str) -> NDArray[numpy.int64]:
        """The token ids of a text, such as a whole corpus, as a numpy array of shape (N,). Raises ValueError as `encode` does."""
        if not isinstance(text, str) or not text:
            return numpy.asarray(self.encode(text), dtype=numpy.int64)  # raises the error
        self._require_known(text)
        parts = list(whole_words(text[i : i + _PART] for i in range(0, len(text), _PART)))
        return numpy.concatenate([self._encoded(batch) for batch in _batches(parts)])

    def _require_known(self, text: str) -> None:
        """Raise `InputError` for characters that the library would drop silently."""
        unknown = self.unknown_characters(text)
        if any(map(_is_character, unknown)):
            listed = " ".join(map(repr, unknown[:10])) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
            raise InputError(f"the text has characters that are not in the tokenizer's vocabulary: {listed}; leave them out")

    def _encoded(self, parts: list[str]) -> NDArray[numpy.int64]:
        """The concatenated ids of several parts, which the library encodes in parallel threads."""
        try:
            with no_panics():
                encoded = self._engine.encode_batch_fast(parts, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError("the text contains half of a surrogate pair, which is not a valid character: leave it out") from error
        return numpy.concatenate([numpy.asarray(one.ids, dtype=numpy.int64) for one in encoded])

    def decode(self, ids: Sequence[int] | NDArray[Any], skip_special_tokens: bool = True) -> str:
        """The text of a sequence of ids; invalid UTF-8 is decoded to U+FFFD. Raises ValueError for an id outside the vocabulary."""
        row = numpy.asarray(ids)
        if row.size == 0:
            return ""
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise ValueError(f"decode expects a 1-d sequence of integers, got {row.dtype} of shape {row.shape}: decode each row separately")
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= self.get_vocab_size():
            wrong = low if low < 0 else high
            raise ValueError(f"token id {wrong} is outside the vocabulary of {self.get_vocab_size()} tokens: use the model's own tokenizer")
        with no_panics():
            return str(self._engine.decode(row.tolist(), skip_special_tokens=skip_special_tokens))

    def get_vocab_size(self) -> int:
        """The largest id plus one; smaller ids may be unused."""
        return self._size

    def unknown_characters(self, text: str) -> list[str]:
        """The distinct characters that are not in the vocabulary, in order of appearance; empty if the vocabulary has all 256 bytes."""
        new = set(text) - self._known
        with no_panics():
            lost = {character for character in new if not self._has_bytes(character)}
        self._known |= new - lost
        return [character for character in dict.fromkeys(text) if character in lost] if lost else []

    def _has_bytes(self, character: str) -> bool:
        """Whether the vocabulary has all bytes of a character; a normalizer may replace the character by another one."""
        if not _is_character(character):
            return False
        ids = self._engine.encode(character, add_special_tokens=False).ids
        text = self._engine.decode(ids, skip_special_tokens=False)
        return bool(text) and self._unknown_id not in ids and (_NO_CHARACTER not in text or character == _NO_CHARACTER)

    def to_json(self) -> str:
        """The tokenizer as JSON."""
        return dump_tokenizer(self.kind, {"tokenizer": json.loads(self._engine.to_str())})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file atomically. Raises OSError if it cannot be written."""
        atomic_write_text(path, self.to_json())

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json`` into a directory, for `transformers` and `from_gpt2`, with its truncation, padding and dropout settings.

        Raises:
            InputError: the directory is a run directory, whose tokenizer would be overwritten, or another process writes there.
            OSError: the file cannot be written.
        """
        directory = Path(path)
        refuse_run(directory)
        directory.mkdir(parents=True, exist_ok=True)
        content = with_settings(json.loads(self._engine.to_str()), self._settings)
        contents = {
            "tokenizer.json": json.dumps(content, indent=2, ensure_ascii=False),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}) + "\n",
        }
        for name, text in contents.items():
            with sole_writer(directory / name):
                atomic_write_text(directory / name, text)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """Read a file that `save` wrote. Raises InputError, a ValueError, for a file that is missing, invalid or not a BPETokenizer's."""
        return cls.from_json(read_tokenizer_file(path), path)

    @classmethod
    def from_json(cls, text: str, path: str | os.PathLike[str]) -> BPETokenizer:
        """Create a tokenizer from the JSON of `to_json`; ``path`` is named in errors. Raises InputError if the JSON is invalid."""
        content = parse_tokenizer(text, path, kind=cls.kind)
        library()
        try:
            return cls(make_engine(content["tokenizer"]))
        except Exception as error:  # the library raises plain Exceptions
            raise broken_tokenizer_file(path, "its fields are invalid") from error


def _is_exact(tokenizer: BPETokenizer) -> bool:
    """Whether decoding reproduces an encoded text: no normalizer, and no added prefix space."""
    unknown = tokenizer.unknown_characters(_TEST_TEXT)
    text = "".join(character for character in _TEST_TEXT if character not in unknown)
    return bool(text) and tokenizer.decode(tokenizer.encode(text)) == text


def _batches(parts: Iterable[str]) -> Iterator[list[str]]:
    """Batches of parts, because the library's encodings take 100 times the memory of the ids, and Ctrl-C waits for a batch to finish."""
    batch: list[str] = []
    for part in parts:
        batch.append(part)
        if sum(map(len, batch)) >= _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _is_character(character: str) -> bool:
    """Whether this is a character, and not half of a surrogate pair."""
    return not "\ud800" <= character <= "\udfff"
