"""``tinytorch prepare``: tokenize a text once and save the tokens, for texts that are larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinytorch.cli.paths import PATH
from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tinytorch.cli.progress import Advance

#: Byte-pair encoding is trained on chunks of about this many bytes in total, evenly spaced over a longer text.
_BPE_BYTES = 2**25
_CHUNK = 2**19


def prepare(
    text: Annotated[Path, typer.Argument(help="UTF-8 text file; may be larger than memory.", show_default=False, **PATH)],
    out: Annotated[Path, typer.Option(help="Token file to write.", show_default=False, **PATH)],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="char (default), bpe (trained on the text), or the directory of a model, to use its tokenizer.", show_default=False
        ),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Vocabulary size of bpe (default 512).", show_default=False)] = None,
) -> None:
    """Tokenize a text and save it as a token file for training."""
    from tinytorch.cli.progress import ProgressBars
    from tinytorch.text import check_text, write_token_file
    from tinytorch.training.run_directory import unwritable_reason
    from tinytorch.training.tokenizers import make_tokenizer

    if out.exists():
        raise InputError(f"{out} already exists; choose another file with --out, or remove it")
    reason = unwritable_reason(out)
    if reason is not None:
        raise InputError(f"{out} cannot be written ({reason}); choose another file with --out")
    check_text(text)
    size = text.stat().st_size
    with ProgressBars() as progress:
        step = max(1, size // _BPE_BYTES) if tokenizer == "bpe" else 1
        chunks = islice(_chunks(text, progress.task("reading"), size), 0, None, step)
        fitted = make_tokenizer(tokenizer, vocab_size, chunks, progress.report)
        out.parent.mkdir(parents=True, exist_ok=True)
        written = write_token_file(out, _chunks(text, progress.task("encoding"), size), fitted)
    tokens, dtype = len(written.tokens), written.tokens.dtype.name
    print(
        f"{tokens:,} tokens ({dtype}) from {written.characters:,} characters ({written.characters / tokens:.2f} per token), saved to {out}"
    )
    print(f"Train on it with: tinytorch train {out}")


def _chunks(text: Path, advance: Advance, size: int) -> Iterator[str]:
    """Yield the chunks of the text, and show the progress."""
    from tinytorch.text import read_chunks

    done = 0
    for chunk in read_chunks(text, _CHUNK):
        yield chunk
        done += len(chunk.encode("utf-8", "surrogatepass"))
        advance(done, size)
