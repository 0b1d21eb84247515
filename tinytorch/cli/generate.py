"""``tinytorch generate``: let a trained model write."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tinytorch.backend import current_backend, use_backend
from tinytorch.backend.tuning import tune
from tinytorch.cli.writing import (
    BackendName,
    MinP,
    Model,
    PrecisionName,
    RepetitionPenalty,
    Seed,
    Temperature,
    TopK,
    TopP,
    first_seed,
    possible_precision,
    read_model,
    show,
)
from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tinytorch.text import Tokenizer


def generate(
    run: Model = None,
    prompt: Annotated[str | None, typer.Option(help="How the text begins; left out, with a new line.", show_default=False)] = None,
    length: Annotated[int, typer.Option(help="Most tokens to write.")] = 500,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = 1.0,
    num_samples: Annotated[int, typer.Option(help="How many texts to write.")] = 1,
    stop: Annotated[list[str] | None, typer.Option(help="End where this appears; may be given several times.", show_default=False)] = None,
    precision: PrecisionName = None,
    seed: Seed = None,
    backend: BackendName = None,
) -> None:
    """Write text with a trained model."""
    with use_backend(backend or current_backend()):
        tune()
        # loaded here, so that --help does not wait for the model's modules
        from tinytorch.generation import SamplingConfig, crop_prompt, stream

        config = SamplingConfig(temperature, top_k, top_p, min_p, repetition_penalty)
        for option, number in (("--num-samples", num_samples), ("--length", length)):
            if number < 1:
                raise InputError(f"{option} must be 1 or more, got {number}")
        model, tokenizer, trained_in = read_model(run)
        begin = _default_prompt(tokenizer) if prompt is None else prompt
        if not begin:
            raise InputError("the prompt is empty; give --prompt at least one character, or leave it out")
        if not tokenizer.unknown_characters(begin):
            _, dropped = crop_prompt(tokenizer.encode(begin), model.max_length)
            if dropped:
                print(
                    f"The prompt is longer than the model's {model.max_length} tokens: its first {dropped} are not used.", file=sys.stderr
                )
        precision = precision or possible_precision(trained_in)
        first = first_seed(seed)
        for i in range(num_samples):
            text = stream(model, begin, length, config=config, tokenizer=tokenizer, stop=stop, seed=first + i, precision=precision)
            if i:
                print("-" * 40)
            print(begin if prompt is not None else "", end="")
            show(text)
            print()


def _default_prompt(tokenizer: Tokenizer) -> str:
    """A new line, or where the model never saw one, a space or the first character it knows."""
    for character in "\n ":
        if not tokenizer.unknown_characters(character):
            return character
    texts = (tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size()))
    return next(text for text in texts if text and not tokenizer.unknown_characters(text))
