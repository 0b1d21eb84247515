"""The tokenizer of a run or of a file of tokens: fitted to the text, or a trained model's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from tinytorch.io.errors import InputError
from tinytorch.text import BPETokenizer, CharTokenizer, Tokenizer
from tinytorch.training.pretrained import load_its_tokenizer

#: Tokens that byte-pair encoding learns by default.
VOCAB_SIZE = 512

#: ``"char"``, ``"bpe"``, the directory of a model, or a tokenizer.
TokenizerChoice: TypeAlias = str | os.PathLike[str] | Tokenizer
#: Called with what is being done, how much of it is done, and of how much.
OnProgress: TypeAlias = Callable[[str, float, float], None]


def silent(task: str, done: float, total: float) -> None:
    """An `OnProgress` that shows nothing."""


def make_tokenizer(
    choice: TokenizerChoice | None, vocab_size: int | None, chunks: Iterable[str], on_progress: OnProgress = silent
) -> Tokenizer:
    """A tokenizer for a text that comes in chunks.

    Args:
        choice: ``"char"``, the default, or ``"bpe"``, fitted to the text; the directory of a model, whose own is taken; or a tokenizer.
        vocab_size: tokens that ``"bpe"`` learns; defaults to `VOCAB_SIZE`.
        chunks: the text.
        on_progress: called while byte pairs are learned.

    Raises:
        InputError: there is no such choice, ``vocab_size`` is too small or not for it, or the tokenizer lacks a character of the text.
    """
    if choice == "bpe":
        size = VOCAB_SIZE if vocab_size is None else vocab_size
        task = f"learning {size:,} byte-pair tokens"
        on_progress(task, 0.0, 1.0)
        return BPETokenizer.train(chunks, size, lambda done, total: on_progress(task, done, total))
    if vocab_size is not None:
        raise InputError("`vocab_size` is for `tokenizer=bpe`: characters are as many as the text has, and a model has its own tokens")
    if choice in (None, "char"):
        characters: set[str] = set()
        for chunk in chunks:
            characters.update(chunk)
        return CharTokenizer().fit("".join(sorted(characters)))
    tokenizer = _existing(choice)
    for chunk in chunks:
        require_known(tokenizer, chunk, "the text")
    return tokenizer


def _existing(choice: TokenizerChoice | None) -> Tokenizer:
    if isinstance(choice, Tokenizer):
        return choice
    if not isinstance(choice, str | os.PathLike) or not os.fspath(choice) or not Path(choice).is_dir():
        got = os.fspath(choice) if isinstance(choice, os.PathLike) else choice
        raise InputError(f"`tokenizer` is char, bpe or the directory of a model, got {got!r}")
    return load_its_tokenizer(choice)


def refuse_tokenizer(choice: TokenizerChoice | None, vocab_size: int | None, where: str) -> None:
    """Raise `InputError` for arguments that say what ``where`` says already."""
    given = [name for name, value in (("`tokenizer`", choice), ("`vocab_size`", vocab_size)) if value is not None]
    if given:
        raise InputError(f"{where} brings its tokenizer; leave out {' and '.join(given)}")


def require_known(tokenizer: Tokenizer, text: str, where: str) -> None:
    """Raise `InputError` naming characters of a text that a tokenizer lacks, which training would lose."""
    unknown = tokenizer.unknown_characters(text)
    if unknown:
        listed = " ".join(map(repr, unknown[:10])) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        raise InputError(f"{where} has characters that the model never saw: {listed}; leave them out, or begin with a new tokenizer")
