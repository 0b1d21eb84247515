"""The interface of tokenizers, and reading any kind of tokenizer from a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError
from tinytorch.text.bpe import BPETokenizer
from tinytorch.text.tokenizer_files import parse_tokenizer, read_tokenizer_file
from tinytorch.text.tokenizers import CharTokenizer


@runtime_checkable
class Tokenizer(Protocol):
    """The protocol of tokenizers, which convert text to token ids and back. `CharTokenizer` and `BPETokenizer` implement it.

    Training a tokenizer is not part of the protocol.

    Attributes:
        kind: the name of the class in the tokenizer's file, by which `load_tokenizer` finds the class.

    Example:
        >>> from tinytorch.text import CharTokenizer, Tokenizer
        >>> isinstance(CharTokenizer(), Tokenizer)
        True
    """

    kind: ClassVar[str]

    @property
    def special_ids(self) -> Sequence[int]:
        """The ids of special tokens, and unused ids; `tinytorch.generation.generate` never chooses them."""
        ...

    def encode(self, text: str) -> list[int]:
        """The token ids of a text. Raises ValueError for an empty text."""
        ...

    def encode_array(self, text: str) -> NDArray[numpy.int64]:
        """The token ids of a text, such as a whole corpus, as a numpy array of shape (N,)."""
        ...

    def decode(self, ids: Sequence[int] | NDArray[Any], skip_special_tokens: bool = True) -> str:
        """The text of a sequence of ids. Raises ValueError for an id outside the vocabulary."""
        ...

    def get_vocab_size(self) -> int:
        """The number of ids, which are 0 to this number minus 1."""
        ...

    def unknown_characters(self, text: str) -> list[str]:
        """The distinct characters of a text that are not in the vocabulary, in order of appearance."""
        ...

    def to_json(self) -> str:
        """The tokenizer as JSON; equal tokenizers have equal JSON."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file that `load_tokenizer` reads."""
        ...


_KINDS: dict[str, type[CharTokenizer] | type[BPETokenizer]] = {kind.kind: kind for kind in (CharTokenizer, BPETokenizer)}


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a tokenizer of any kind from the file that its `save` method wrote.

    Args:
        path: the file.

    Returns:
        A `CharTokenizer` or `BPETokenizer`.

    Raises:
        InputError: the file is missing or invalid, or holds a kind of tokenizer that this version does not support.

    Example:
        >>> import os, tempfile
        >>> from tinytorch.text import CharTokenizer, load_tokenizer
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = os.path.join(directory, "tokenizer.json")
        ...     CharTokenizer().fit("to be or not to be").save(path)
        ...     load_tokenizer(path)
        CharTokenizer(9 tokens, special_tokens=['<PAD>', '<UNK>'])
    """
    return tokenizer_from_json(read_tokenizer_file(path), path)


def tokenizer_from_json(text: str, path: str | os.PathLike[str]) -> Tokenizer:
    """Create a tokenizer of any kind from its JSON; ``path`` is named in errors. Raises `InputError` as `load_tokenizer` does."""
    kind = parse_tokenizer(text, path)["kind"]
    if kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise InputError(f"{path} has a tokenizer of kind {kind!r}, but this version supports only {known}: upgrade tinytorch")
    return _KINDS[kind].from_json(text, path)
