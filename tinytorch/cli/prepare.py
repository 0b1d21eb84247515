"""``tinytorch prepare``: a text as a file of tokens, to train from without reading the text again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinytorch.cli.paths import PATH
from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tinytorch.cli.waiting import Advance

#: Of a longer text, byte pairs are learned from so many bytes, evenly spread.
_ENOUGH = 2**25
_CHUNK = 2**19


def prepare(
    text: Annotated[Path, typer.Argument(help="UTF-8 text, which may be larger than memory.", show_default=False, **PATH)],
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False, **PATH)],
    tokenizer: Annotated[
        str | None,
        typer.Option(help="char (default); bpe, learned from the text; or a model's directory, for its own.", show_default=False),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="How many tokens bpe learns (default 512).", show_default=False)] = None,
) -> None:
    """Turn a text into a file of tokens to train on."""
    from tinytorch.cli.waiting import Waiting
    from tinytorch.text import check_text, write_token_file
    from tinytorch.training.run_directory import why_unwritable
    from tinytorch.training.tokenizers import make_tokenizer

    if out.exists():
        raise InputError(f"{out} is there already; choose another file with --out, or remove it")
    reason = why_unwritable(out)
    if reason is not None:
        raise InputError(f"{out} cannot be written ({reason}); choose another file with --out")
    check_text(text)
    size = text.stat().st_size
    with Waiting() as waiting:
        step = max(1, size // _ENOUGH) if tokenizer == "bpe" else 1
        chunks = islice(_chunks(text, waiting.task("reading"), size), 0, None, step)
        learned = make_tokenizer(tokenizer, vocab_size, chunks, waiting.report)
        out.parent.mkdir(parents=True, exist_ok=True)
        written = write_token_file(out, _chunks(text, waiting.task("encoding"), size), learned)
    tokens, kind = len(written.tokens), written.tokens.dtype.name
    print(f"{tokens:,} tokens ({kind}) for {written.characters:,} characters, {written.characters / tokens:.2f} each, in {out}")
    print(f"Train on them with: tinytorch train {out}")


def _chunks(text: Path, advance: Advance, size: int) -> Iterator[str]:
    """The text, with progress shown."""
    from tinytorch.text import read_chunks

    done = 0
    for chunk in read_chunks(text, _CHUNK):
        yield chunk
        done += len(chunk.encode("utf-8", "surrogatepass"))
        advance(done, size)
