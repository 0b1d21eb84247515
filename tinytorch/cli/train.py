"""``tinytorch train``: train a TinyGPT on a text."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from tinytorch import __version__
from tinytorch.backend import current_backend, use_backend
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.backend.tuning import tune
from tinytorch.cli.locking import locked_directory, warn
from tinytorch.cli.output import OutputError, TolerantOutput
from tinytorch.cli.paths import PATH, check_writable
from tinytorch.cli.settings import MAY_CHANGE, check_pretrained, flag, model_settings, new_settings, pretrained_settings, resumed_settings
from tinytorch.cli.signals import TERMINATION, exit_code, signal_handler
from tinytorch.io.errors import InputError
from tinytorch.ops import random

if TYPE_CHECKING:
    from tinytorch.models import TinyGPT
    from tinytorch.text import Tokenizer
    from tinytorch.training.corpus import Corpus
    from tinytorch.training.run import Run
    from tinytorch.training.run_directory import RunDirectory


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
    # the model's and the trainer's modules are loaded here, so that --help does not wait for them
    from tinytorch.training.run_directory import FILES, RunDirectory, newest_directory

    if resume:
        if tokenizer is not None or vocab_size is not None:
            raise InputError(
                "a resumed run keeps its tokenizer; leave out --tokenizer and --vocab-size, or start a new run without --resume"
            )
        if init_from is not None:
            raise InputError("a resumed run goes on from its own model; leave out --init-from, or start a new run without --resume")
        run = RunDirectory.open(out or newest_directory())
        with use_backend(backend or os.environ.get(ENVIRONMENT_VARIABLE, "").strip() or run.config["backend"]):
            tune()
            with locked_directory(run.path, FILES):
                _resume(run, text, options)
    else:
        if preset == "finetune" and init_from is None:
            raise InputError("--preset finetune is for a model that has learned before; name one with --init-from")
        with use_backend(backend or current_backend()):
            tune()
            chosen = {**options, "preset": preset or ("nano" if init_from is None else "finetune")}
            _start(text, out, chosen, tokenizer, vocab_size, init_from)


def _start(
    text: Path | None, out: Path | None, options: dict[str, Any], kind: str | None, vocab_size: int | None, init_from: Path | None
) -> None:
    """Begin a new run. Nothing is written before everything that was given is known to be good."""
    from tinytorch.cli.tokenizers import make_tokenizer, refuse_tokenizer
    from tinytorch.cli.waiting import Waiting
    from tinytorch.models import TinyGPT
    from tinytorch.text import check_text, is_token_file
    from tinytorch.training.corpus import PYTHON, read_corpus
    from tinytorch.training.memory import check_memory
    from tinytorch.training.run import Run
    from tinytorch.training.run_directory import FILES, RUNS, RunDirectory, check_free, claim_directory

    preset = options.pop("preset")
    if init_from is not None:
        check_pretrained(preset, options)
    settings = new_settings(preset, options)
    if out is not None:
        check_free(out)
    check_writable(out or RUNS, "directory")
    if text is not None:
        check_text(text)
        if is_token_file(text):
            refuse_tokenizer(kind, vocab_size, str(text))
    begun = None
    if init_from is None:
        with Waiting() as waiting:
            corpus = read_corpus(text, lambda content: make_tokenizer(kind, vocab_size, [content], waiting))
        shape = model_settings(settings, corpus.tokenizer.get_vocab_size())
    else:
        refuse_tokenizer(kind, vocab_size, "--init-from")
        begun, settings, corpus = _begun(init_from, text, preset, options)
        shape = asdict(begun.config)
    check_memory(shape, settings, current_backend())
    config = {
        "tinytorch": __version__,
        "backend": current_backend().spec,
        "model": shape,
        "training": settings,
        "text": corpus.record,
        **({} if init_from is None else {"init_from": str(init_from.absolute())}),
    }
    random.seed(settings["seed"])
    run = Run(config, corpus, begun or TinyGPT(**shape))
    source = "" if init_from is None else f"from {init_from} "
    path = out or claim_directory("python" if text is None else text.stem)
    with locked_directory(path, FILES):
        with RunDirectory.create(path, config, corpus.tokenizer) as run.directory:
            run.save()
        _go(run, settings, f"{source}on {text or PYTHON}, {corpus.record['characters']:,} characters")


def _begun(path: Path, text: Path | None, preset: str, options: dict[str, Any]) -> tuple[TinyGPT, dict[str, Any], Corpus]:
    """A model that has learned before, the settings to train it with, and a text in its tokens."""
    from tinytorch.training.corpus import read_corpus, require_known
    from tinytorch.training.pretrained import load_pretrained

    model, tokenizer = load_pretrained(path, **({} if options["dropout"] is None else {"dropout": options["dropout"]}))
    settings = {**pretrained_settings(preset, options, asdict(model.config)), "vocabulary": tokenizer.get_vocab_size()}

    def its_own(content: str) -> Tokenizer:
        require_known(tokenizer, content, "the text")
        return tokenizer

    corpus = read_corpus(text, its_own)
    _same_tokens(corpus, tokenizer, text, path)
    return model, settings, corpus


def _same_tokens(corpus: Corpus, tokenizer: Tokenizer, text: Path | None, model: Path) -> None:
    """Raise `InputError` for a file of tokens that are another model's."""
    if corpus.tokenizer is not tokenizer and corpus.tokenizer.to_json() != tokenizer.to_json():
        raise InputError(f"{text} has other tokens than {model}; prepare the text again with --tokenizer {model}")


def _resume(directory: RunDirectory, text: Path | None, options: dict[str, Any]) -> None:
    """Go on with a run."""
    from tinytorch.training.checkpoint import load_checkpoint
    from tinytorch.training.corpus import read_corpus
    from tinytorch.training.memory import check_memory
    from tinytorch.training.run import Run

    settings = resumed_settings(directory.config["training"], options)
    wanted = directory.config["text"]
    if text is None and "python" not in wanted:
        text = Path(str(wanted.get("source")))
        if not text.exists():
            raise InputError(f"{text}, the text of {directory.path}, is gone; name it where it is now: tinytorch train TEXT --resume")
    tokenizer = directory.tokenizer()
    corpus = read_corpus(text, lambda content: tokenizer)
    if corpus.record["sha256"] != wanted.get("sha256"):
        found = corpus.record
        mend = f"use Python {wanted['python']}" if "python" in wanted and "python" in found else "give the text that the run began with"
        raise InputError(f"{found['source']} is not the text of {directory.path}; {mend}, or start a new run without --resume")
    _same_tokens(corpus, tokenizer, text, directory.path)
    model = directory.new_model()
    check_memory(asdict(model.config), settings, current_backend())
    random.seed(settings["seed"])
    run = Run({**directory.config, "training": settings}, corpus, model)
    run.directory = directory
    load_checkpoint(directory.path, run.trainer)
    done, steps = run.trainer.optimizer.steps, settings["steps"]
    unmeasured = done == steps and run.log.lacks_evaluation(done)  # it was stopped during the final evaluation
    if done >= steps and not unmeasured:
        raise InputError(f"{directory.path} has taken {done} steps already; say where to stop with --steps, more than {done}")
    lost = run.log.truncate(done)
    if lost:
        warn(f"{run.log.path} is damaged: the rows of {lost:,} of {done:,} steps are lost; the others are kept and the run continues")
    _go(run, settings, f"from step {done:,}, up to step {steps:,}")


def _go(run: Run, settings: dict[str, Any], what: str) -> None:
    """Train and show progress, until the last step, a signal, or a failure of standard output."""
    output = TolerantOutput(sys.stdout, run.stop)
    console = Console(file=cast(IO[str], output), highlight=False, soft_wrap=True)
    path = run.directory.path
    further, saved = ["tinytorch", "train", "--resume", "--out", str(path)], run.directory.config["training"]
    further += [word for name in MAY_CHANGE if settings[name] != saved[name] for word in (flag(name), str(settings[name]))]
    received: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        if len(received) == 1:
            if not run.interruptible:  # otherwise it stops at once
                console.print("Stopping after this step, then saving ...")
            run.stop(at_once=True)
        elif signum == signal.SIGINT and not run.saving:  # a second Ctrl-C does not wait for the step
            raise KeyboardInterrupt

    parameters = run.trainer.model.count_parameters()
    console.print(f"Training a TinyGPT of {parameters:,} parameters in {path}, with {current_backend().spec},\n{what}", markup=False)
    with signal_handler(stop, [signal.SIGINT, *TERMINATION]):
        try:
            run.train(settings["steps"], console)
        except OSError as error:
            reason = f"{error.strerror or error}; change that, and go on with: {shlex.join(further)}"
            raise OSError(error.errno, reason, str(error.filename or path)) from error
    if run.finished:
        state = f"Write more with: {shlex.join(['tinytorch', 'generate', str(path), '--prompt', run.prompt])}"
    else:
        state = f"Stopped and saved at step {run.trainer.optimizer.steps:,}; go on with: {shlex.join(further)}"
    console.print(state, markup=False)
    if received:
        raise typer.Exit(exit_code(received[0]))
    if output.error is not None:
        raise OutputError(output.error, state)
