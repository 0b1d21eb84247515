"""What the trainer, the sampler and the command ask of a tokenizer."""

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
    """Text to token ids and back. `CharTokenizer` is one; fitting is each kind's own business.

    Attributes:
        kind: the tag that the tokenizer's file carries, by which `load_tokenizer` finds the class.
    """

    kind: ClassVar[str]

    @property
    def special_ids(self) -> Sequence[int]:
        """The ids that stand for no text; a model never writes them."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises ValueError for an empty one."""
        ...

    def encode_array(self, text: str) -> NDArray[numpy.int64]:
        """The ids of a text, such as a whole corpus, as a host array of shape (N,)."""
        ...

    def decode(self, ids: Sequence[int] | NDArray[Any], skip_special_tokens: bool = True) -> str:
        """The text of a row of ids. Raises ValueError for an id outside the vocabulary."""
        ...

    def get_vocab_size(self) -> int:
        """How many ids there are; they run from 0."""
        ...

    def unknown_characters(self, text: str) -> list[str]:
        """The distinct characters of a text that this tokenizer cannot express, in order of appearance."""
        ...

    def to_json(self) -> str:
        """The tokenizer as JSON; two that are alike give the same."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file that `load_tokenizer` reads."""
        ...


_KINDS: dict[str, type[CharTokenizer] | type[BPETokenizer]] = {kind.kind: kind for kind in (CharTokenizer, BPETokenizer)}


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a tokenizer of any kind from the file that its `save` wrote.

    Raises:
        InputError: the file is missing, broken, not a tokenizer's, or of a kind that this version does not know.
    """
    return tokenizer_from_json(read_tokenizer_file(path), path)


def tokenizer_from_json(text: str, path: str | os.PathLike[str]) -> Tokenizer:
    """A tokenizer of any kind from its JSON, which came from ``path``. Raises `InputError` as `load_tokenizer` does."""
    kind = parse_tokenizer(text, path)["kind"]
    if kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise InputError(f"{path} holds a tokenizer of kind {kind!r}, and this version knows {known}: upgrade tinytorch")
    return _KINDS[kind].from_json(text, path)
