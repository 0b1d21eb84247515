"""``tinytorch evaluate``: how well a model predicts a text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tinytorch.backend import current_backend, use_backend
from tinytorch.cli.writing import BackendName, PrecisionName, possible_precision, read_model
from tinytorch.tuning import tune


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's directory, or a GPT-2's.", show_default=False)],
    text: Annotated[Path, typer.Argument(help="UTF-8 text to predict.", show_default=False)],
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
        from tinytorch.text import read_text
        from tinytorch.training.evaluation import evaluate as measure

        content = read_text(text)
        model, tokenizer, trained_in = read_model(run)
        chosen = precision or possible_precision(trained_in)
        unknown = set(tokenizer.unknown_characters(content))
        if unknown:
            lost = sum(character in unknown for character in content)
            print(f"{lost:,} characters of the text were never seen by the model, and count as wrong guesses.", file=sys.stderr)
        with Waiting() as waiting:
            found = measure(model, tokenizer, content, stride, waiting.task("windows"), chosen)
        window = min(model.max_length, found.tokens)
        print(f"loss                {found.loss:.4f} nats a token")
        print(f"perplexity          {found.perplexity:,.2f}")
        print(f"bits per character  {found.bits_per_character:.4f}")
        print(f"accuracy            {found.accuracy:.1%}")
        print(f"bigram baseline     {found.bigram_bits:.4f} bits per character; the model takes {found.share_of_bigram:.1%} of that")
        print(f"over {found.tokens:,} tokens for {found.characters:,} characters, in windows of {window:,}")
