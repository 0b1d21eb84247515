"""``tinytorch evaluate``: evaluate a model on a text."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tinytorch.backend import current_backend, use_backend
from tinytorch.backend.tuning import tune
from tinytorch.cli.paths import PATH
from tinytorch.cli.writing import BackendName, PrecisionName, read_model, usable_precision


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory or GPT-2 directory.", show_default=False, **PATH)],
    text: Annotated[Path, typer.Argument(help="UTF-8 text file, or token file written by prepare.", show_default=False, **PATH)],
    stride: Annotated[
        int | None,
        typer.Option(help="Tokens the sliding window moves by; defaults to half of the model's maximum length.", show_default=False),
    ] = None,
    precision: PrecisionName = None,
    backend: BackendName = None,
) -> None:
    """Evaluate a model on a text: loss, perplexity, accuracy."""
    with use_backend(backend or current_backend()):
        tune()
        from tinytorch.cli.progress import ProgressBars
        from tinytorch.text import TokenFile, is_token_file, read_chunks
        from tinytorch.training.evaluation import evaluate as measure

        prepared = TokenFile.open(text) if is_token_file(text) else None
        characters: Counter[str] = Counter()
        for chunk in () if prepared else read_chunks(text):  # errors in the text are reported before the model is loaded
            characters.update(chunk)
        model, tokenizer, trained_in = read_model(run)
        precision = precision or usable_precision(trained_in)
        unknown = sum(characters[character] for character in tokenizer.unknown_characters("".join(characters)))
        if unknown:
            print(f"{unknown:,} characters of the text are not in the model's vocabulary and count as wrong predictions.", file=sys.stderr)
        with ProgressBars() as progress:
            result = measure(model, tokenizer, prepared or partial(read_chunks, text), stride, progress.task("evaluating"), precision)
        window = min(model.max_length, result.tokens)
        ratio = f"; the model needs {result.bigram_ratio:.1%} of that" if result.bigram_bits else ""
        print(f"loss                {result.loss:.4f} nats per token")
        print(f"perplexity          {result.perplexity:,.2f}")
        print(f"bits per character  {result.bits_per_character:.4f}")
        print(f"accuracy            {result.accuracy:.1%}")
        print(f"bigram baseline     {result.bigram_bits:.4f} bits per character{ratio}")
        print(f"{result.tokens:,} predicted tokens ({result.characters:,} characters), windows of {window:,} tokens")
