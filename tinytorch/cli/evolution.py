"""``tinytorch evolution``: train and compare models from the perceptron to GPT."""

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
    data: Annotated[str, typer.Option(help="Data set: digits, mnist, fashion or cifar10.")] = "digits",
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory of the data set; downloaded if left out.", show_default=False, **PATH)
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="numpy, cupy, torch, jax or auto (cupy if it can run, else numpy); defaults to TINYTORCH_BACKEND or numpy.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Output directory; defaults to runs/evolution-001 with the next free number.", show_default=False, **PATH),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of every model; defaults to those of its recipe.", show_default=False)] = None,
    seeds: Annotated[int, typer.Option(help="Number of times to train each model, with seeds 0, 1, ...")] = 1,
) -> None:
    """Train and compare models from the perceptron to GPT."""
    for name, value in (("--epochs", epochs), ("--seeds", seeds)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be 1 or more, got {value}")
    with use_backend(backend or current_backend()):
        tune()
        # imported here so that --help is fast
        from rich.console import Console

        from tinytorch.evolution.comparison import compare_models, write_results
        from tinytorch.evolution.picture import PICTURES, draw_comparison
        from tinytorch.evolution.table import comparison_table
        from tinytorch.training.run_directory import RUNS, claim_directory, lock_directory, require_writable
        from tinytorch.vision import load_images

        require_writable(out or RUNS)
        train, test = load_images(data, data_dir)
        if out is not None and (out / _RESULTS).exists():
            raise InputError(f"{out} already contains results; choose another directory with --out")
        folder = out or claim_directory("evolution")
        with printed_warnings(), lock_directory(folder, (_RESULTS, *PICTURES)):  # checked before the training starts
            console = Console(highlight=False)
            comparison = compare_models(train, test, seeds, epochs, console, lambda results: write_results(folder / _RESULTS, results))
            drawn = draw_comparison(folder, comparison)
            console.print(comparison_table(comparison))
            console.print(
                "train, test: accuracy in percent, for TinyGPT of the next character; course: accuracy that a course reported.\n"
                "layers, ops, lines: percentage of the model's layer classes, operations and lines of code that earlier models also use.",
                style="dim",
            )
            pictures = " and ".join(PICTURES)
            files = f"{_RESULTS}, {pictures}" if drawn else f"{_RESULTS} (install matplotlib for the figure)"
            console.print(f"Saved in {folder}: {files}", markup=False, soft_wrap=True)
