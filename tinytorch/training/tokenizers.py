"""Choose the tokenizer of a run or a token file: fitted to the text, or taken from a trained model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from tinytorch.io.errors import InputError
from tinytorch.text import BPETokenizer, CharTokenizer, Tokenizer
from tinytorch.training.pretrained import load_model_tokenizer

#: Default vocabulary size of byte-pair encoding.
VOCAB_SIZE = 512

#: ``"char"``, ``"bpe"``, the directory of a model, or a tokenizer.
TokenizerChoice: TypeAlias = str | os.PathLike[str] | Tokenizer
#: Called with a task name, the amount done, and the total.
OnProgress: TypeAlias = Callable[[str, float, float], None]


def no_progress(task: str, done: float, total: float) -> None:
    """An `OnProgress` that shows nothing."""


def make_tokenizer(
    choice: TokenizerChoice | None, vocab_size: int | None, chunks: Iterable[str], on_progress: OnProgress = no_progress
) -> Tokenizer:
    """Create or load the tokenizer for a text.

    Args:
        choice: ``"char"`` (the default) or ``"bpe"``, fitted to the text; the directory of a model, to use its tokenizer; or a tokenizer.
        vocab_size: vocabulary size of ``"bpe"``; defaults to `VOCAB_SIZE`.
        chunks: the chunks of the text.
        on_progress: called while byte pairs are learned.

    Raises:
        InputError: if ``choice`` is invalid, ``vocab_size`` is too small or given for another tokenizer, or the tokenizer lacks a
            character of the text.
    """
    if choice == "bpe":
        size = VOCAB_SIZE if vocab_size is None else vocab_size
        task = f"learning {size:,} byte-pair tokens"
        on_progress(task, 0.0, 1.0)
        return BPETokenizer.train(chunks, size, lambda done, total: on_progress(task, done, total))
    if vocab_size is not None:
        raise InputError("`vocab_size` requires `tokenizer=bpe`; leave it out for other tokenizers, whose vocabulary size is fixed")
    if choice in (None, "char"):
        characters: set[str] = set()
        for chunk in chunks:
            characters.update(chunk)
        return CharTokenizer().fit("".join(sorted(characters)))
    tokenizer = _existing(choice)
    for chunk in chunks:
        require_known_characters(tokenizer, chunk, "the text")
    return tokenizer


def _existing(choice: TokenizerChoice | None) -> Tokenizer:
    if isinstance(choice, Tokenizer):
        return choice
    if not isinstance(choice, str | os.PathLike) or not os.fspath(choice) or not Path(choice).is_dir():
        got = os.fspath(choice) if isinstance(choice, os.PathLike) else choice
        raise InputError(f"`tokenizer` must be char, bpe or the directory of a model, got {got!r}")
    return load_model_tokenizer(choice)


def reject_tokenizer_arguments(choice: TokenizerChoice | None, vocab_size: int | None, where: str) -> None:
    """Raise `InputError` if an argument is given, because ``where``, a model or token file, has its own tokenizer."""
    given = [name for name, value in (("`tokenizer`", choice), ("`vocab_size`", vocab_size)) if value is not None]
    if given:
        raise InputError(f"{where} has its own tokenizer; leave out {' and '.join(given)}")


def require_known_characters(tokenizer: Tokenizer, text: str, where: str) -> None:
    """Raise `InputError` if the tokenizer lacks characters of a text."""
    unknown = tokenizer.unknown_characters(text)
    if unknown:
        listed = " ".join(map(repr, unknown[:10])) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        raise InputError(
            f"{where} has characters that are not in the tokenizer's vocabulary: {listed}; remove them, or use a new tokenizer"
        )
