"""``tinytorch generate``: generate text with a trained model."""

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
    read_model,
    seed_or_random,
    show,
    usable_precision,
)
from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tinytorch.text import Tokenizer


def generate(
    run: Model = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt; defaults to a newline.", show_default=False)] = None,
    length: Annotated[int, typer.Option(help="Maximum number of tokens to generate.")] = 500,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = 1.0,
    num_samples: Annotated[int, typer.Option(help="Number of texts to generate.")] = 1,
    stop: Annotated[list[str] | None, typer.Option(help="Stop string; may be given several times.", show_default=False)] = None,
    precision: PrecisionName = None,
    seed: Seed = None,
    backend: BackendName = None,
) -> None:
    """Generate text with a trained model."""
    with use_backend(backend or current_backend()):
        tune()
        # imported here so that --help is fast
        from tinytorch.generation import SamplingConfig, crop_prompt, stream

        config = SamplingConfig(temperature, top_k, top_p, min_p, repetition_penalty)
        for option, number in (("--num-samples", num_samples), ("--length", length)):
            if number < 1:
                raise InputError(f"{option} must be 1 or more, got {number}")
        model, tokenizer, trained_in = read_model(run)
        start = _default_prompt(tokenizer) if prompt is None else prompt
        if not start:
            raise InputError("the prompt is empty; pass at least one character as --prompt, or leave it out")
        if not tokenizer.unknown_characters(start):
            _, dropped = crop_prompt(tokenizer.encode(start), model.max_length)
            if dropped:
                print(
                    f"The prompt is longer than the model's maximum length of {model.max_length} tokens; the first {dropped} are ignored.",
                    file=sys.stderr,
                )
        precision = precision or usable_precision(trained_in)
        first_seed = seed_or_random(seed)
        for i in range(num_samples):
            text = stream(model, start, length, config=config, tokenizer=tokenizer, stop=stop, seed=first_seed + i, precision=precision)
            if i:
                print("-" * 40)
            print(start if prompt is not None else "", end="")
            show(text)
            print()


def _default_prompt(tokenizer: Tokenizer) -> str:
    """A newline; or, if the vocabulary lacks it, a space or the first known character."""
    for character in "\n ":
        if not tokenizer.unknown_characters(character):
            return character
    texts = (tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size()))
    return next(text for text in texts if text and not tokenizer.unknown_characters(text))
