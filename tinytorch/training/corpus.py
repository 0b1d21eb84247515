"""What a run learns from: a text, in a file or not, a file of tokens, or the language reference in Python."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from tinytorch.io.errors import InputError
from tinytorch.io.files import HostArray
from tinytorch.text import TokenFile, Tokenizer, is_token_file, python_reference, read_text, text_digest

PYTHON = "the Python language reference"

AnyPath: TypeAlias = str | os.PathLike[str]

#: Characters, or tokens, from the beginning that the first word is searched for in.
_BEGINNING = 256


@dataclass(frozen=True)
class Corpus:
    """A text as tokens.

    Attributes:
        name: the text in a sentence, such as its file.
        tokens: shape (N,); those of a token file stay on the disk until they are used.
        tokenizer: the one that made them.
        prompt: the text's first word, which samples begin with.
        record: what `config.json` keeps to know the text by: ``sha256``, ``characters``, and ``source`` and Python's version where it
            has them.
    """

    name: str
    tokens: HostArray
    tokenizer: Tokenizer
    prompt: str
    record: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a text comes from. If both are None it is Python's language reference.

    Attributes:
        file: a text, or a file of tokens, which has a tokenizer of its own.
        text: the text itself, in place of a file.
    """

    file: Path | None
    text: str | None

    @classmethod
    def of(cls, file: AnyPath | None, text: str | None) -> Self:
        """From the arguments of these names. Raises `InputError` for both, for an empty text, and where one is taken for the other."""
        if file is not None and text is not None:
            raise InputError("`file` and `text` are both given; pass one of them")
        if isinstance(file, str) and "\n" in file:
            raise InputError("`file` has several lines and is no path; pass a text itself as `text`")
        if text is not None and not isinstance(text, str):
            raise InputError(f"`text` is the text itself, got {type(text).__name__}; pass a path as `file`")
        if text is not None and not text.strip():
            raise InputError("`text` holds no text; pass some, or the path of a file as `file`")
        return cls(as_path(file, "file"), text)

    @property
    def is_default(self) -> bool:
        """Whether it is Python's language reference."""
        return self.file is None and self.text is None

    @property
    def stem(self) -> str:
        """What a directory for a run on it is called."""
        return self.file.stem if self.file is not None else "python" if self.text is None else "text"


def as_path(value: AnyPath | None, name: str) -> Path | None:
    """An argument as a path. Raises `InputError` for an empty one, which would stand for the current directory."""
    if value is None:
        return None
    if not os.fspath(value):
        raise InputError(f"`{name}` is an empty path; pass a path, or leave it out")
    return Path(value)


def read_corpus(source: Source, tokenizer_for: Callable[[str], Tokenizer]) -> Corpus:
    """A text in tokens.

    Args:
        source: where it comes from.
        tokenizer_for: returns the tokenizer for a text.

    Raises:
        InputError: the file cannot be read; or as ``tokenizer_for``.
    """
    file, text = source.file, source.text
    if file is not None and is_token_file(file):
        prepared = TokenFile.open(file)
        record = {"source": str(file.absolute()), "sha256": prepared.sha256, "characters": prepared.characters}
        beginning = prepared.tokenizer.decode(prepared.tokens[:_BEGINNING])
        return Corpus(str(file), prepared.tokens, prepared.tokenizer, _first_word(beginning), record)
    if file is not None:
        name, content, origin = str(file), read_text(file), {"source": str(file.absolute())}
    elif text is not None:
        name, content, origin = "`text`", text, {}
    else:
        name, content, origin = PYTHON, python_reference(), {"source": PYTHON, "python": platform.python_version()}
    tokenizer = tokenizer_for(content)
    record = {**origin, "sha256": text_digest(content), "characters": len(content)}
    return Corpus(name, tokenizer.encode_array(content), tokenizer, _first_word(content[:_BEGINNING]), record)


def require_same_tokens(corpus: Corpus, tokenizer: Tokenizer, model: Path) -> None:
    """Raise `InputError` if a file of tokens was made with another tokenizer than the model's."""
    if corpus.tokenizer is not tokenizer and corpus.tokenizer.to_json() != tokenizer.to_json():
        raise InputError(f"{corpus.name} has other tokens than {model}; prepare the text again with `tokenizer={model}`")


def _first_word(beginning: str) -> str:
    words = beginning.split(maxsplit=1)
    return words[0][:20] + (" " if " " in beginning else "") if words else beginning[:1]
