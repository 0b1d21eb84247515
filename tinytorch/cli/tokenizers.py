"""From what ``--tokenizer`` and ``--vocab-size`` say to a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tinytorch.cli.waiting import Waiting
    from tinytorch.text import Tokenizer

#: How many tokens bpe learns where nothing is said.
VOCAB_SIZE = 512


def make_tokenizer(kind: str | None, vocab_size: int | None, chunks: Iterable[str], waiting: Waiting) -> Tokenizer:
    """A tokenizer for a text that comes in chunks.

    Args:
        kind: ``"char"``, the default; ``"bpe"``; or the directory of a model, whose own it is.
        vocab_size: how many tokens bpe learns.
        chunks: the text.
        waiting: where to show how far bpe is.

    Raises:
        InputError: there is no such kind, no room in the vocabulary, or a character that the model's tokenizer lacks.
    """
    from tinytorch.text import BPETokenizer, CharTokenizer
    from tinytorch.training.corpus import require_known
    from tinytorch.training.pretrained import load_its_tokenizer

    if kind == "bpe":
        size = VOCAB_SIZE if vocab_size is None else vocab_size
        waiting.say(f"Learning {size:,} byte-pair tokens ...")
        return BPETokenizer.train(chunks, size, waiting.task("learning tokens"))
    if vocab_size is not None:
        raise InputError("--vocab-size is for --tokenizer bpe: characters are as many as the text has, and a model has its own tokens")
    if kind in (None, "char"):
        characters: set[str] = set()
        for chunk in chunks:
            characters.update(chunk)
        return CharTokenizer().fit("".join(sorted(characters)))
    assert kind is not None
    if not kind or not Path(kind).is_dir():
        raise InputError(f"--tokenizer is char, bpe or the directory of a model, got {kind!r}")
    tokenizer = load_its_tokenizer(kind)
    for chunk in chunks:
        require_known(tokenizer, chunk, "the text")
    return tokenizer


def refuse_tokenizer(kind: str | None, vocab_size: int | None, where: str) -> None:
    """Raise `InputError` for options that say what ``where`` says already."""
    given = [flag for flag, value in (("--tokenizer", kind), ("--vocab-size", vocab_size)) if value is not None]
    if given:
        raise InputError(f"{where} brings its tokenizer; leave out {' and '.join(given)}")
