"""``tinytorch generate``: let a trained model write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinytorch.backend import current_backend, use_backend
from tinytorch.errors import InputError
from tinytorch.tuning import tune

if TYPE_CHECKING:
    from tinytorch.models import TinyGPT
    from tinytorch.text import Tokenizer


def generate(
    run: Annotated[
        Path | None, typer.Argument(help="A run's directory, or a GPT-2's; left out, the newest run in runs/.", show_default=False)
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="How the text begins; left out, with a new line.", show_default=False)] = None,
    length: Annotated[int, typer.Option(help="Most tokens to write.")] = 500,
    temperature: Annotated[float, typer.Option(help="Above 1 bolder, below 1 safer, 0 always the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Choose among this many tokens only.", show_default=False)] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Choose among the likeliest that have this probability together.", show_default=False)
    ] = None,
    num_samples: Annotated[int, typer.Option(help="How many texts to write.")] = 1,
    stop: Annotated[str | None, typer.Option(help="End where this appears.", show_default=False)] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, tf32, bfloat16 or float16; left out, what the run was trained in.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="For the same text again; left out, another each time.", show_default=False)] = None,
    backend: Annotated[
        str | None, typer.Option(help="numpy, cupy, auto, ...; left out, TINYTORCH_BACKEND or numpy.", show_default=False)
    ] = None,
) -> None:
    """Write text with a trained model."""
    with use_backend(backend or current_backend()):
        tune()
        # loaded here, so that --help does not wait for the model's modules
        from tinytorch.text import crop_prompt, stream

        for option, number in (("--num-samples", num_samples), ("--length", length)):
            if number < 1:
                raise InputError(f"{option} must be 1 or more, got {number}")
        tokenizer, model, trained_in = _read(run)
        begin = _default_prompt(tokenizer) if prompt is None else prompt
        if not begin:
            raise InputError("the prompt is empty; give --prompt at least one character, or leave it out")
        if not tokenizer.unknown_characters(begin):
            _, dropped = crop_prompt(tokenizer.encode(begin), model.max_length)
            if dropped:
                print(
                    f"The prompt is longer than the model's {model.max_length} tokens: its first {dropped} are not used.", file=sys.stderr
                )
        settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "stop": stop, "tokenizer": tokenizer}
        settings["precision"] = precision or _possible(trained_in)
        first = _fresh_seed() if seed is None else seed
        for i in range(num_samples):
            pieces = stream(model, begin, length, seed=first + i, **settings)
            if i:
                print("-" * 40)
            _show(begin if prompt is not None else "", pieces)


def _read(path: Path | None) -> tuple[Tokenizer, TinyGPT, str]:
    """Tokenizer, model and precision of a run, or of a GPT-2 directory, which says so in its settings."""
    from tinytorch.models.gpt2_files import is_gpt2, load_gpt2
    from tinytorch.text import BPETokenizer
    from tinytorch.training.run_directory import RunDirectory, newest_directory

    if path is not None and is_gpt2(path):
        return BPETokenizer.from_gpt2(path), load_gpt2(path), "float32"
    directory = RunDirectory.open(path or newest_directory())
    return directory.tokenizer(), directory.model(), directory.config["training"].get("precision", "float32")


def _possible(trained_in: str) -> str:
    """The precision that a run was trained in, or float32 where the backend cannot compute in that, which is said."""
    lacks = current_backend().lacks_precision(trained_in)
    if lacks is None:
        return trained_in
    print(f"The run was trained in {trained_in}, and of {current_backend().spec} {lacks}: writing in float32.", file=sys.stderr)
    return "float32"


def _show(begin: str, pieces: Iterator[str]) -> None:
    """Print the text as it is written."""
    sys.stdout.write(begin)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _default_prompt(tokenizer: Any) -> str:
    """A new line, or where the model never saw one, a space or the first character it knows."""
    for character in "\n ":
        if not tokenizer.unknown_characters(character):
            return character
    return str(tokenizer.decode([len(tokenizer.special_ids)]))


def _fresh_seed() -> int:
    """A seed that differs each time."""
    import secrets

    return secrets.randbits(32)
