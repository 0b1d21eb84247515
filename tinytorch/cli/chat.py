"""``tinytorch chat``: an interactive conversation with a trained model."""

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
    read_model,
    seed_or_random,
    show,
    usable_precision,
)
from tinytorch.io.errors import InputError

_HELP = """Type a line, and the model continues.
Empty line: continue the answer. /new: new conversation. Ctrl-C: stop the answer. Ctrl-D: exit."""


def chat(
    run: Model = None,
    length: Annotated[int, typer.Option(help="Maximum number of tokens per answer.")] = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="Stop string; may be given several times. Defaults to an empty line.", show_default=False),
    ] = None,
    template: Annotated[
        str, typer.Option(help=r"Format of each input line; {} is replaced by the line, \n by a newline.", show_default=True)
    ] = r"{}\n",
    precision: PrecisionName = None,
    seed: Seed = None,
    backend: BackendName = None,
) -> None:
    """Chat with a trained model."""
    with use_backend(backend or current_backend()):
        tune()
        # imported here so that --help is fast
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
            seed=seed_or_random(seed),
            precision=precision or usable_precision(trained_in),
        )
        print(f"{model.count_parameters():,} parameters, {current_backend().spec}. {_HELP}\n")
        for line in _lines():
            if line == "/new":
                conversation.reset()
                continue
            try:
                show(conversation.answer(line))
                print("\n", flush=True)
            except InputError as error:  # affects only this line
                print(f"error: {error}", file=sys.stderr, flush=True)
            except KeyboardInterrupt:  # stops only this answer
                print("\n", flush=True)


def _lines() -> Iterator[str]:
    """Yield the input lines until Ctrl-D, or Ctrl-C at the prompt."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # not available on Windows
            import readline  # noqa: F401 - enables line editing and history
    try:
        while True:
            yield input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        if sys.stdin.isatty():
            print()
