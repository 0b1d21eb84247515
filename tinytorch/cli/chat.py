"""``tinytorch chat``: talk with a trained model, line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

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
    from tinytorch.models import TinyGPT
    from tinytorch.text import Tokenizer

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
        from tinytorch.text.sampling import check_sampling

        if length < 1:
            raise InputError(f"--length must be 1 or more, got {length}")
        if template.count("{}") != 1:
            raise InputError(rf"--template must hold {{}} once, where the line goes, such as 'You: {{}}\nI: ', got {template!r}")
        check_sampling(temperature, top_k, top_p, min_p, repetition_penalty)
        model, tokenizer, trained_in = read_model(run)
        settings: dict[str, Any] = {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "stop": ["\n\n"] if stop is None else stop,
            "precision": precision or possible_precision(trained_in),
        }
        conversation = Conversation(model, tokenizer, template.replace(r"\n", "\n"), length, first_seed(seed), settings)
        print(f"{model.count_parameters():,} parameters, {current_backend().spec}. {_HELP}\n")
        for line in _lines():
            if line == "/new":
                conversation.forget()
                continue
            try:
                for _ in show(conversation.answer(line)):
                    pass
                print("\n", flush=True)
            except InputError as error:  # of this line alone
                print(f"error: {error}", file=sys.stderr, flush=True)
            except KeyboardInterrupt:  # of this answer alone
                print("\n", flush=True)


class Conversation:
    """All that was said so far, as tokens, of which the model sees the last; what it is asked next goes on from there."""

    def __init__(self, model: TinyGPT, tokenizer: Tokenizer, template: str, length: int, seed: int, settings: dict[str, Any]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        # a model that never saw a new line does without
        self._line_end = "" if tokenizer.unknown_characters("\n") else "\n"
        self._template = template if self._line_end else template.replace("\n", "")
        self._length = length
        self._seed = seed
        self._settings = settings
        self._said: list[int] = []

    def forget(self) -> None:
        """Begin anew."""
        self._said = []

    def answer(self, line: str) -> Iterator[str]:
        """What the model says to a line, piece by piece; what was said when the caller stops asking counts as said.

        Raises:
            InputError: there is nothing to go on from, or a character that the model never saw; the conversation is as it was before.
        """
        from tinytorch.text import crop_prompt, stream

        asked = self._template.replace("{}", line) if line else ""
        unknown = self._tokenizer.unknown_characters(asked)
        if unknown:
            raise InputError(f"the model never saw {' '.join(map(repr, unknown))}; say it without")
        ids = [*self._said, *(self._tokenizer.encode(asked) if asked else [])]
        if not ids:
            raise InputError("nothing was said yet; type a line to go on from")
        self._said = crop_prompt(ids, self._model.max_length)[0]
        self._seed += 1
        answer = ""
        try:
            for piece in stream(self._model, self._said, self._length, seed=self._seed - 1, tokenizer=self._tokenizer, **self._settings):
                answer += piece
                yield piece
        finally:
            if not answer.endswith("\n"):
                answer += self._line_end
            if answer:
                self._said = crop_prompt([*self._said, *self._tokenizer.encode(answer)], self._model.max_length)[0]


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
