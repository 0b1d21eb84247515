"""``tinytorch evaluate``: how well a model predicts a text."""

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
from tinytorch.cli.writing import BackendName, PrecisionName, possible_precision, read_model


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's directory, or a GPT-2's.", show_default=False, **PATH)],
    text: Annotated[Path, typer.Argument(help="UTF-8 text to predict, or a file that prepare wrote.", show_default=False, **PATH)],
    stride: Annotated[
        int | None, typer.Option(help="Tokens that the window moves; left out, half of the model's window.", show_default=False)
    ] = None,
    precision: PrecisionName = None,
    backend: BackendName = None,
) -> None:
    """Measure how well a model predicts a text, all of it."""
    with use_backend(backend or current_backend()):
        tune()
        from tinytorch.cli.waiting import Waiting
        from tinytorch.text import TokenFile, is_token_file, read_chunks
        from tinytorch.training.evaluation import evaluate as measure

        prepared = TokenFile.open(text) if is_token_file(text) else None
        characters: Counter[str] = Counter()
        for chunk in () if prepared else read_chunks(text):  # what is wrong with a text is told before a model is read
            characters.update(chunk)
        model, tokenizer, trained_in = read_model(run)
        chosen = precision or possible_precision(trained_in)
        lost = sum(characters[character] for character in tokenizer.unknown_characters("".join(characters)))
        if lost:
            print(f"{lost:,} characters of the text were never seen by the model, and count as wrong guesses.", file=sys.stderr)
        with Waiting() as waiting:
            found = measure(model, tokenizer, prepared or partial(read_chunks, text), stride, waiting.task("predicting"), chosen)
        window = min(model.max_length, found.tokens)
        share = f"; the model takes {found.share_of_bigram:.1%} of that" if found.bigram_bits else ""
        print(f"loss                {found.loss:.4f} nats a token")
        print(f"perplexity          {found.perplexity:,.2f}")
        print(f"bits per character  {found.bits_per_character:.4f}")
        print(f"accuracy            {found.accuracy:.1%}")
        print(f"bigram baseline     {found.bigram_bits:.4f} bits per character{share}")
        print(f"over {found.tokens:,} tokens for {found.characters:,} characters, in windows of {window:,}")
