"""The training text of a run: a text file, a string, a token file, or the Python language reference."""

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

#: Number of leading characters or tokens in which the first word is searched.
_PREFIX = 256


@dataclass(frozen=True)
class Corpus:
    """A tokenized text.

    Attributes:
        name: how messages refer to the text, such as its file name.
        tokens: token ids of shape (N,); for a token file they are memory-mapped.
        tokenizer: the tokenizer that produced the tokens.
        prompt: the first word of the text, the default prompt of samples.
        record: the entry in `config.json` that identifies the text: ``sha256``, ``characters``, and, if known, ``source`` and the
            version of ``python``.
    """

    name: str
    tokens: HostArray
    tokenizer: Tokenizer
    prompt: str
    record: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a text comes from. If both attributes are None, it is the Python language reference.

    Attributes:
        file: a text file, or a token file, which includes its tokenizer.
        text: the text itself.
    """

    file: Path | None
    text: str | None

    @classmethod
    def of(cls, file: AnyPath | None, text: str | None) -> Self:
        """Validate the arguments `file` and `text` of a run. Raises `InputError` if they are invalid."""
        if file is not None and text is not None:
            raise InputError("`file` and `text` are both given; pass one of them")
        if isinstance(file, str) and "\n" in file:
            raise InputError("`file` has several lines, so it is not a path; pass the text itself as `text`")
        if text is not None and not isinstance(text, str):
            raise InputError(f"`text` must be a string with the text itself, got {type(text).__name__}; pass a path as `file`")
        if text is not None and not text.strip():
            raise InputError("`text` is empty; pass a text, or the path of a text file as `file`")
        return cls(as_path(file, "file"), text)

    @property
    def is_default(self) -> bool:
        """Whether this is the Python language reference."""
        return self.file is None and self.text is None

    @property
    def stem(self) -> str:
        """Prefix of the default name of a run directory."""
        return self.file.stem if self.file is not None else "python" if self.text is None else "text"


def as_path(value: AnyPath | None, name: str) -> Path | None:
    """Convert an argument to a path. Raises `InputError` if it is an empty string, which `Path` would read as the current directory."""
    if value is None:
        return None
    if not os.fspath(value):
        raise InputError(f"`{name}` is an empty path; pass a path, or leave it out")
    return Path(value)


def read_corpus(source: Source, tokenizer_for: Callable[[str], Tokenizer]) -> Corpus:
    """Read and tokenize a text.

    Args:
        source: where the text comes from.
        tokenizer_for: returns the tokenizer for a text; not called for a token file.

    Raises:
        InputError: if the file cannot be read, or ``tokenizer_for`` raises it.
    """
    file, text = source.file, source.text
    if file is not None and is_token_file(file):
        prepared = TokenFile.open(file)
        record = {"source": str(file.absolute()), "sha256": prepared.sha256, "characters": prepared.characters}
        beginning = prepared.tokenizer.decode(prepared.tokens[:_PREFIX])
        return Corpus(str(file), prepared.tokens, prepared.tokenizer, _first_word(beginning), record)
    if file is not None:
        name, content, origin = str(file), read_text(file), {"source": str(file.absolute())}
    elif text is not None:
        name, content, origin = "`text`", text, {}
    else:
        name, content, origin = PYTHON, python_reference(), {"source": PYTHON, "python": platform.python_version()}
    tokenizer = tokenizer_for(content)
    record = {**origin, "sha256": text_digest(content), "characters": len(content)}
    return Corpus(name, tokenizer.encode_array(content), tokenizer, _first_word(content[:_PREFIX]), record)


def require_same_tokens(corpus: Corpus, tokenizer: Tokenizer, model: Path) -> None:
    """Raise `InputError` if a token file was written with a tokenizer other than the model's."""
    if corpus.tokenizer is not tokenizer and corpus.tokenizer.to_json() != tokenizer.to_json():
        raise InputError(
            f"{corpus.name} was tokenized with another tokenizer than {model}; prepare the text again with `tokenizer={model}`"
        )


def _first_word(beginning: str) -> str:
    words = beginning.split(maxsplit=1)
    return words[0][:20] + (" " if " " in beginning else "") if words else beginning[:1]
