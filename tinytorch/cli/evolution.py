"""``tinytorch evolution``: from the perceptron to the GPT with the same parts, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinytorch.backend import current_backend, use_backend
from tinytorch.backend.tuning import tune
from tinytorch.cli.paths import PATH
from tinytorch.cli.warnings import printed_warnings
from tinytorch.io.errors import InputError

_RESULTS = "results.json"


def evolution(
    data: Annotated[str, typer.Option(help="digits, mnist, fashion or cifar10.")] = "digits",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the data's files are; left out, they are downloaded.", show_default=False, **PATH)
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="numpy, cupy, auto, ...; left out, TINYTORCH_BACKEND or numpy.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where results go; left out, runs/evolution-001, counting up.", show_default=False, **PATH)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, in place of each model's own.", show_default=False)] = None,
    seeds: Annotated[int, typer.Option(help="How many times to train each model, from seed 0 on.")] = 1,
) -> None:
    """Train every model from the perceptron to the GPT."""
    for name, value in (("--epochs", epochs), ("--seeds", seeds)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be 1 or more, got {value}")
    with use_backend(backend or current_backend()):
        tune()
        # loaded here, so that --help does not wait for the models' modules
        from rich.console import Console

        from tinytorch.evolution.picture import PICTURES, draw_story
        from tinytorch.evolution.story import tell, write_results
        from tinytorch.evolution.table import story_table
        from tinytorch.training.run_directory import RUNS, claim_directory, lock_directory, require_writable
        from tinytorch.vision import load_images

        require_writable(out or RUNS)
        train, test = load_images(data, data_dir)
        if out is not None and (out / _RESULTS).exists():
            raise InputError(f"{out} holds results already; choose another directory with --out")
        folder = out or claim_directory("evolution")
        with printed_warnings(), lock_directory(folder, (_RESULTS, *PICTURES)):  # before minutes are spent on what would go there
            console = Console(highlight=False)
            story = tell(train, test, seeds, epochs, console, lambda outcomes: write_results(folder / _RESULTS, outcomes))
            drawn = draw_story(folder, story)
            console.print(story_table(story))
            console.print(
                "train, test: accuracy in per cent, TinyGPT's that of the next character; course: what the course had.\n"
                "layers, ops, lines: share of the library's that an older model had used already.",
                style="dim",
            )
            pictures = " and ".join(PICTURES)
            files = f"{_RESULTS}, {pictures}" if drawn else f"{_RESULTS} (install matplotlib for the picture)"
            console.print(f"In {folder}: {files}", markup=False, soft_wrap=True)
