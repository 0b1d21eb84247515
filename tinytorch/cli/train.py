"""``tinytorch train``: train or resume a TinyGPT on a text."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from tinytorch.backend import current_backend, use_backend
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.backend.tuning import tune
from tinytorch.cli.output import OutputError, TolerantOutput
from tinytorch.cli.paths import PATH
from tinytorch.cli.signals import TERMINATION, exit_code, signal_handler
from tinytorch.cli.warnings import printed_warnings
from tinytorch.io.errors import InputError

if TYPE_CHECKING:
    from tinytorch.training.config import TrainingConfig
    from tinytorch.training.run import Run

#: Settings that may change with ``--resume``.
MUTABLE_SETTINGS = ("steps", "decay_steps")


def train(
    text: Annotated[
        Path | None,
        typer.Argument(
            help="UTF-8 text file, or token file written by prepare; defaults to the Python language reference.", show_default=False, **PATH
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Preset of settings: nano (default), baby or gpt2; finetune with --init-from.", show_default=False),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="numpy, cupy, cupy:1, torch, jax or auto (cupy if it can run, else numpy); defaults to TINYTORCH_BACKEND or numpy.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; defaults to runs/NAME-001 with the next free number.", show_default=False, **PATH)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out, or the newest, from its last checkpoint.")] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="char (default), bpe (trained on the text), or the directory of a model, to use its tokenizer.", show_default=False
        ),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Vocabulary size of bpe (default 512).", show_default=False)] = None,
    steps: Annotated[
        int | None, typer.Option(help="Total number of training steps; with --resume, may be larger than before.", show_default=False)
    ] = None,
    decay_steps: Annotated[
        int | None,
        typer.Option(help="Step at which the cosine decay of the learning rate ends; defaults to --steps.", show_default=False),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows per step.", show_default=False)] = None,
    block_size: Annotated[int | None, typer.Option(help="Tokens per window (context length).", show_default=False)] = None,
    d_model: Annotated[int | None, typer.Option(help="Width of the model.", show_default=False)] = None,
    num_heads: Annotated[int | None, typer.Option(help="Attention heads; must divide --d-model.", show_default=False)] = None,
    num_layers: Annotated[int | None, typer.Option(help="Transformer blocks.", show_default=False)] = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout probability.", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Maximum learning rate.", show_default=False)] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Number of microbatches per batch (gradient accumulation).", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 (default), tf32, bfloat16 or float16; weights are kept in float32.", show_default=False)
    ] = None,
    checkpoint_activations: Annotated[
        bool, typer.Option("--checkpoint-activations", help="Recompute activations in the backward pass to save memory.")
    ] = False,
    init_from: Annotated[
        Path | None, typer.Option(help="Fine-tune this model: a run directory or a GPT-2 directory.", show_default=False, **PATH)
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations on the validation split; each saves a checkpoint.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, batches and samples (default 0).", show_default=False)] = None,
) -> None:
    """Train a TinyGPT on a text, with checkpoints."""
    options = {
        "preset": preset,
        "steps": steps,
        "decay_steps": decay_steps,
        "batch_size": batch_size,
        "block_size": block_size,
        "d_model": d_model,
        "num_heads": num_heads,
        "num_layers": num_layers,
        "dropout": dropout,
        "learning_rate": learning_rate,
        "accumulate": accumulate,
        "precision": precision,
        "checkpoint_activations": checkpoint_activations or None,
        "eval_every": eval_every,
        "seed": seed,
    }
    given = {name: value for name, value in options.items() if value is not None}
    # imported here so that --help is fast
    from tinytorch.cli.progress import ProgressBars
    from tinytorch.training.corpus import PYTHON
    from tinytorch.training.run import Run
    from tinytorch.training.run_directory import RunDirectory, newest_directory

    with printed_warnings():
        if resume:
            if tokenizer is not None or vocab_size is not None:
                raise InputError(
                    "a resumed run keeps its tokenizer; leave out --tokenizer and --vocab-size, or start a new run without --resume"
                )
            if init_from is not None:
                raise InputError("a resumed run continues with its own model; leave out --init-from, or start a new run without --resume")
            directory = RunDirectory.open(out or newest_directory())
            saved = directory.config["training"]
            _reject_changes(given, saved)
            with use_backend(backend or os.environ.get(ENVIRONMENT_VARIABLE, "").strip() or directory.config["backend"]):
                tune()
                with Run.resume(directory.path, text, steps=steps, decay_steps=decay_steps) as run:
                    changed = [name for name in MUTABLE_SETTINGS if name in given and given[name] != saved.get(name)]
                    options_again = [word for name in changed for word in (flag(name), str(given[name]))]
                    _train(run, f"from step {run.step:,} to step {run.config.steps:,}", options_again)
        else:
            with use_backend(backend or current_backend()):
                tune()
                config = _config(given, init_from is not None)
                with ProgressBars() as progress:
                    run = Run.start(
                        config,
                        text,
                        directory=out,
                        tokenizer=tokenizer,
                        vocab_size=vocab_size,
                        init_from=init_from,
                        on_progress=progress.report,
                    )
                with run:
                    source = "" if init_from is None else f"from {init_from} "
                    _train(run, f"{source}on {text or PYTHON}, {run.corpus.record['characters']:,} characters", [])


def flag(name: str) -> str:
    """The option of a setting."""
    return "--" + name.replace("_", "-")


def _config(given: dict[str, Any], pretrained: bool) -> TrainingConfig:
    """The settings of a new run: those of the preset, except for what a pretrained model determines, overridden by the options."""
    from tinytorch.training.config import TrainingConfig

    from_model: dict[str, Any] = dict.fromkeys(("d_model", "num_heads", "num_layers", "dropout")) if pretrained else {}
    changes = {**from_model, **given}
    return TrainingConfig.from_preset(changes.pop("preset", "finetune" if pretrained else "nano"), **changes)


def _reject_changes(given: dict[str, Any], saved: dict[str, Any]) -> None:
    """Raise `InputError` if an option contradicts the saved settings of the run."""
    conflicts = [
        f"{flag(name)} {value} (the run has {saved.get(name)})"
        for name, value in given.items()
        if name not in MUTABLE_SETTINGS and value != saved.get(name, "float32" if name == "precision" else None)
    ]
    if conflicts:
        raise InputError(f"a resumed run keeps its settings; leave out {', '.join(conflicts)}, or start a new run without --resume")


def _train(run: Run, description: str, options: list[str]) -> None:
    """Train and show the progress until the last step, a signal, or an error of standard output.

    Args:
        run: the run.
        description: printed at the start.
        options: options of the command that resumes the run, in addition to ``--resume`` and ``--out``.
    """
    output = TolerantOutput(sys.stdout, run.stop)
    console = Console(file=cast(IO[str], output), highlight=False, soft_wrap=True)
    path = run.directory
    resume_command = shlex.join(["tinytorch", "train", "--resume", "--out", str(path), *options])
    received: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        if len(received) == 1:
            if not run.interruptible:  # an interruptible run stops immediately
                console.print("Stopping after this step, then saving ...")
            run.stop(immediately=True)
        elif signum == signal.SIGINT and not run.saving:  # a second Ctrl-C does not wait for the end of the step
            raise KeyboardInterrupt

    parameters = run.model.count_parameters()
    console.print(f"TinyGPT with {parameters:,} parameters, run directory {path}, backend {current_backend().spec}", markup=False)
    console.print(f"Training {description}", markup=False)
    with signal_handler(stop, [signal.SIGINT, *TERMINATION]):
        try:
            run.train(console=console)
        except OSError as error:
            reason = f"{error.strerror or error}; fix this, then resume with: {resume_command}"
            raise OSError(error.errno, reason, str(error.filename or path)) from error
    if run.finished:
        state = f"Generate text with: {shlex.join(['tinytorch', 'generate', str(path), '--prompt', run.prompt])}"
    else:
        state = f"Stopped and saved at step {run.step:,}; resume with: {resume_command}"
    console.print(state, markup=False)
    if received:
        raise typer.Exit(exit_code(received[0]))
    if output.error is not None:
        raise OutputError(output.error, state)
