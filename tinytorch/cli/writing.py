"""What the subcommands that write share: the options, the model, and text on the terminal as it comes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinytorch.backend import current_backend
from tinytorch.cli.paths import PATH

if TYPE_CHECKING:
    from tinytorch.models import TinyGPT
    from tinytorch.text import Tokenizer

Model = Annotated[
    Path | None, typer.Argument(help="A run's directory, or a GPT-2's; left out, the newest run in runs/.", show_default=False, **PATH)
]
Temperature = Annotated[float, typer.Option(help="Above 1 bolder, below 1 safer, 0 the most probable token (greedy).")]
TopK = Annotated[int | None, typer.Option(help="Choose among this many tokens only.", show_default=False)]
TopP = Annotated[float | None, typer.Option(help="Choose among the most probable tokens with this probability in all.", show_default=False)]
MinP = Annotated[
    float | None, typer.Option(help="Choose among tokens with at least this share of the largest probability.", show_default=False)
]
RepetitionPenalty = Annotated[float, typer.Option(help="Above 1, what was said already becomes less likely.")]
PrecisionName = Annotated[
    str | None, typer.Option(help="float32, tf32, bfloat16 or float16; left out, what the model was trained in.", show_default=False)
]
Seed = Annotated[int | None, typer.Option(help="For the same text again; left out, another each time.", show_default=False)]
BackendName = Annotated[str | None, typer.Option(help="numpy, cupy, auto, ...; left out, TINYTORCH_BACKEND or numpy.", show_default=False)]


def read_model(path: Path | None) -> tuple[TinyGPT, Tokenizer, str]:
    """Model, tokenizer and the precision they were trained in, of a run, the newest by default, or of a GPT-2 directory."""
    from tinytorch.training.pretrained import load_pretrained, trained_precision
    from tinytorch.training.run_directory import newest_directory

    path = path or newest_directory()
    return *load_pretrained(path), trained_precision(path)


def possible_precision(trained_in: str) -> str:
    """The precision that a model was trained in, or float32 where the backend cannot compute in that, which is said."""
    backend = current_backend()
    lacks = backend.lacks_precision(trained_in)
    if lacks is None:
        return trained_in
    print(f"The model was trained in {trained_in}, and {backend.spec} cannot: {lacks}. Computing in float32.", file=sys.stderr)
    return "float32"


def first_seed(seed: int | None) -> int:
    """The seed that was given, or one that differs each time."""
    import secrets

    return secrets.randbits(32) if seed is None else seed


def show(text: Iterable[str]) -> None:
    """Print a text as it is generated."""
    for part in text:
        sys.stdout.write(part)
        sys.stdout.flush()
