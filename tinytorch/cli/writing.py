"""Shared by the subcommands that use a trained model: options, loading, and printing text as it is generated."""

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
    Path | None, typer.Argument(help="Run directory or GPT-2 directory; defaults to the newest run in runs/.", show_default=False, **PATH)
]
Temperature = Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy.")]
TopK = Annotated[int | None, typer.Option(help="Sample from the k most probable tokens.", show_default=False)]
TopP = Annotated[
    float | None, typer.Option(help="Sample from the smallest set of most probable tokens with this total probability.", show_default=False)
]
MinP = Annotated[
    float | None, typer.Option(help="Sample from tokens with at least this fraction of the maximum probability.", show_default=False)
]
RepetitionPenalty = Annotated[float, typer.Option(help="Above 1, tokens that already occurred become less probable.")]
PrecisionName = Annotated[
    str | None, typer.Option(help="float32, tf32, bfloat16 or float16; defaults to the precision of training.", show_default=False)
]
Seed = Annotated[int | None, typer.Option(help="Random seed; defaults to a different one each time.", show_default=False)]
BackendName = Annotated[
    str | None,
    typer.Option(
        help="numpy, cupy, torch, jax or auto (cupy if it can run, else numpy); defaults to TINYTORCH_BACKEND or numpy.", show_default=False
    ),
]


def read_model(path: Path | None) -> tuple[TinyGPT, Tokenizer, str]:
    """Load the model of a run (by default the newest) or a GPT-2 directory. Returns model, tokenizer and precision of training."""
    from tinytorch.training.pretrained import load_pretrained, trained_precision
    from tinytorch.training.run_directory import newest_directory

    path = path or newest_directory()
    return *load_pretrained(path), trained_precision(path)


def usable_precision(trained_in: str) -> str:
    """The precision of training; or, with a message on standard error, float32 if the backend does not support it."""
    backend = current_backend()
    reason = backend.lacks_precision(trained_in)
    if reason is None:
        return trained_in
    print(f"The model was trained in {trained_in}, which {backend.spec} does not support: {reason}. Using float32.", file=sys.stderr)
    return "float32"


def seed_or_random(seed: int | None) -> int:
    """The given seed, or a random one."""
    import secrets

    return secrets.randbits(32) if seed is None else seed


def show(text: Iterable[str]) -> None:
    """Print a text as it is generated."""
    for part in text:
        sys.stdout.write(part)
        sys.stdout.flush()
