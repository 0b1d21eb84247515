"""``tinytorch chat``: talk with a trained model, line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

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

_HELP = """Type a line, and the model goes on from there.
An empty line lets it write more, /new forgets, Ctrl-C cuts an answer short, Ctrl-D ends."""


def chat(
    run: Model = None,
    length: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End an answer where this appears; may be given several times. Left out, at an empty line.", show_default=False),
    ] = None,
    template: Annotated[
        str, typer.Option(help=r"What the model reads of a line, which stands for {}; \n is a new line.", show_default=True)
    ] = r"{}\n",
    precision: PrecisionName = None,
    seed: Seed = None,
    backend: BackendName = None,
) -> None:
    """Talk with a trained model."""
    with use_backend(backend or current_backend()):
        tune()
        # loaded here, so that --help does not wait for the model's modules
        from tinytorch.generation import Conversation, SamplingConfig

        if length < 1:
            raise InputError(f"--length must be 1 or more, got {length}")
        config = SamplingConfig(temperature, top_k, top_p, min_p, repetition_penalty)
        model, tokenizer, trained_in = read_model(run)
        conversation = Conversation(
            model,
            tokenizer,
            template=template.replace(r"\n", "\n"),
            max_new_tokens=length,
            config=config,
            stop="\n\n" if stop is None else stop,
            seed=first_seed(seed),
            precision=precision or possible_precision(trained_in),
        )
        print(f"{model.count_parameters():,} parameters, {current_backend().spec}. {_HELP}\n")
        for line in _lines():
            if line == "/new":
                conversation.reset()
                continue
            try:
                show(conversation.answer(line))
                print("\n", flush=True)
            except InputError as error:  # of this line alone
                print(f"error: {error}", file=sys.stderr, flush=True)
            except KeyboardInterrupt:  # of this answer alone
                print("\n", flush=True)


def _lines() -> Iterator[str]:
    """What is typed, line by line, until Ctrl-D, or Ctrl-C in place of a line."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # Windows has none
            import readline  # noqa: F401 - arrow keys, and lines from before
    try:
        while True:
            yield input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        if sys.stdin.isatty():
            print()
