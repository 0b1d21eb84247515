"""What a run learns from: a text of yours, a file of tokens, or the language reference in Python."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinytorch.io.errors import InputError
from tinytorch.io.files import HostArray
from tinytorch.text import TokenFile, Tokenizer, is_token_file, python_reference, read_text, text_digest

PYTHON = "the Python language reference"

#: Characters, or tokens, from the beginning that the first word is looked for in.
_BEGINNING = 256


@dataclass(frozen=True)
class Corpus:
    """A text as tokens.

    Attributes:
        tokens: shape (N,); those of a token file stay on the disk until they are looked at.
        tokenizer: what made them.
        prompt: the text's first word, to begin samples with.
        record: what `config.json` keeps to know the text by: ``source``, ``sha256``, ``characters``, and Python's version.
    """

    tokens: HostArray
    tokenizer: Tokenizer
    prompt: str
    record: dict[str, Any]


def read_corpus(path: Path | None, fitted: Callable[[str], Tokenizer]) -> Corpus:
    """The text in a file, or Python's where there is none, in the tokens of what ``fitted`` makes of it; or a token file's own.

    Raises `InputError` where the file cannot be read, and as ``fitted`` does.
    """
    if path is not None and is_token_file(path):
        file = TokenFile.open(path)
        record = {"source": str(path.absolute()), "sha256": file.sha256, "characters": file.characters}
        return Corpus(file.tokens, file.tokenizer, _first_word(file.tokenizer.decode(file.tokens[:_BEGINNING])), record)
    text = python_reference() if path is None else read_text(path)
    source = {"source": PYTHON, "python": platform.python_version()} if path is None else {"source": str(path.absolute())}
    tokenizer = fitted(text)
    record = {**source, "sha256": text_digest(text), "characters": len(text)}
    return Corpus(tokenizer.encode_array(text), tokenizer, _first_word(text[:_BEGINNING]), record)


def require_known(tokenizer: Tokenizer, text: str, where: str) -> None:
    """Raise `InputError` naming characters of a text that a tokenizer lacks, which training would lose."""
    unknown = tokenizer.unknown_characters(text)
    if unknown:
        listed = " ".join(map(repr, unknown[:10])) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        raise InputError(f"{where} has characters that the model never saw: {listed}; leave them out, or begin with a new tokenizer")


def _first_word(beginning: str) -> str:
    words = beginning.split(maxsplit=1)
    return words[0][:20] + (" " if " " in beginning else "") if words else beginning[:1]
