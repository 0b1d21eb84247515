"""``tinytorch train``: train a TinyGPT on a text."""

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

#: What ``--resume`` may be given: how far to go is not a setting of the run.
MAY_CHANGE = ("steps", "decay_steps")


def train(
    text: Annotated[
        Path | None,
        typer.Argument(
            help="UTF-8 text, or a file that prepare wrote; left out, the language reference in Python.", show_default=False, **PATH
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Size of model and run: nano (default), baby or gpt2; finetune with --init-from.", show_default=False),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="numpy, cupy, cupy:1, auto, ...; left out, TINYTORCH_BACKEND or numpy.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's directory; left out, runs/NAME-001, counting up.", show_default=False, **PATH)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, or the newest, where it stopped.")] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="char (default); bpe, learned from the text; or a model's directory, for its own.", show_default=False),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="How many tokens bpe learns (default 512).", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(help="Where to stop; with --resume, further than the run's own.", show_default=False)] = None,
    decay_steps: Annotated[
        int | None,
        typer.Option(help="Where the learning rate reaches its lowest; left out, where the run stops, resumed or not.", show_default=False),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows in a step.", show_default=False)] = None,
    block_size: Annotated[int | None, typer.Option(help="Tokens in a window.", show_default=False)] = None,
    d_model: Annotated[int | None, typer.Option(help="Width of the model.", show_default=False)] = None,
    num_heads: Annotated[int | None, typer.Option(help="Attention heads; must divide the width.", show_default=False)] = None,
    num_layers: Annotated[int | None, typer.Option(help="Transformer blocks.", show_default=False)] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of activations dropped in training.", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.", show_default=False)] = None,
    accumulate: Annotated[int | None, typer.Option(help="Parts that a batch is cut into to save memory.", show_default=False)] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 (default), tf32, bfloat16 or float16; weights are kept in float32.", show_default=False)
    ] = None,
    checkpoint_activations: Annotated[
        bool, typer.Option("--checkpoint-activations", help="Save memory: compute again what the backward pass needs.")
    ] = False,
    init_from: Annotated[
        Path | None, typer.Option(help="Go on from this model: a run's directory, or a GPT-2's.", show_default=False, **PATH)
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between looks at held-out text, each with a checkpoint.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Where weights, batches and samples start from (default 0).", show_default=False)] = None,
) -> None:
    """Train a TinyGPT on a text and save it."""
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
    # the model's and the trainer's modules are loaded here, so that --help does not wait for them
    from tinytorch.cli.waiting import Waiting
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
                raise InputError("a resumed run goes on from its own model; leave out --init-from, or start a new run without --resume")
            directory = RunDirectory.open(out or newest_directory())
            saved = directory.config["training"]
            _refuse_changes(given, saved)
            with use_backend(backend or os.environ.get(ENVIRONMENT_VARIABLE, "").strip() or directory.config["backend"]):
                tune()
                with Run.resume(directory.path, text, steps=steps, decay_steps=decay_steps) as run:
                    changed = [name for name in MAY_CHANGE if name in given and given[name] != saved.get(name)]
                    words = [word for name in changed for word in (flag(name), str(given[name]))]
                    _go(run, f"from step {run.step:,}, up to step {run.config.steps:,}", words)
        else:
            with use_backend(backend or current_backend()):
                tune()
                config = _config(given, init_from is not None)
                with Waiting() as waiting:
                    run = Run.start(
                        config,
                        text,
                        directory=out,
                        tokenizer=tokenizer,
                        vocab_size=vocab_size,
                        init_from=init_from,
                        on_progress=waiting.report,
                    )
                with run:
                    source = "" if init_from is None else f"from {init_from} "
                    _go(run, f"{source}on {text or PYTHON}, {run.corpus.record['characters']:,} characters", [])


def flag(name: str) -> str:
    """The option for a setting."""
    return "--" + name.replace("_", "-")


def _config(given: dict[str, Any], pretrained: bool) -> TrainingConfig:
    """The settings of a new run: a preset's, but for a pretrained model's own, with the options that were given."""
    from tinytorch.training.config import TrainingConfig

    of_model: dict[str, Any] = dict.fromkeys(("d_model", "num_heads", "num_layers", "dropout")) if pretrained else {}
    changes = {**of_model, **given}
    return TrainingConfig.from_preset(changes.pop("preset", "finetune" if pretrained else "nano"), **changes)


def _refuse_changes(given: dict[str, Any], saved: dict[str, Any]) -> None:
    """Raise `InputError` for options that say something else than the run's own settings."""
    conflicts = [
        f"{flag(name)} {value} (the run has {saved.get(name)})"
        for name, value in given.items()
        if name not in MAY_CHANGE and value != saved.get(name, "float32" if name == "precision" else None)
    ]
    if conflicts:
        raise InputError(f"a resumed run keeps its settings; leave out {', '.join(conflicts)}, or start a new run without --resume")


def _go(run: Run, what: str, options: list[str]) -> None:
    """Train and show progress, until the last step, a signal, or a failure of standard output; ``options`` are those to go on with."""
    output = TolerantOutput(sys.stdout, run.stop)
    console = Console(file=cast(IO[str], output), highlight=False, soft_wrap=True)
    path = run.directory
    further = shlex.join(["tinytorch", "train", "--resume", "--out", str(path), *options])
    received: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        if len(received) == 1:
            if not run.interruptible:  # otherwise it stops at once
                console.print("Stopping after this step, then saving ...")
            run.stop(at_once=True)
        elif signum == signal.SIGINT and not run.saving:  # a second Ctrl-C does not wait for the step
            raise KeyboardInterrupt

    parameters = run.model.count_parameters()
    console.print(f"Training a TinyGPT of {parameters:,} parameters in {path}, with {current_backend().spec},\n{what}", markup=False)
    with signal_handler(stop, [signal.SIGINT, *TERMINATION]):
        try:
            run.train(console=console)
        except OSError as error:
            reason = f"{error.strerror or error}; change that, and go on with: {further}"
            raise OSError(error.errno, reason, str(error.filename or path)) from error
    if run.finished:
        state = f"Write more with: {shlex.join(['tinytorch', 'generate', str(path), '--prompt', run.prompt])}"
    else:
        state = f"Stopped and saved at step {run.step:,}; go on with: {further}"
    console.print(state, markup=False)
    if received:
        raise typer.Exit(exit_code(received[0]))
    if output.error is not None:
        raise OutputError(output.error, state)
