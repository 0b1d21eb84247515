"""The command itself: its subcommands, its global options, and what becomes of an error."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from tinytorch import BackendUnavailableError, UnknownBackendError, __version__
from tinytorch.cli.options import in_options
from tinytorch.cli.output import OutputError, flush_output, open_standard_streams
from tinytorch.cli.signals import TERMINATION, Terminated, exit_code, signal_handler, terminate
from tinytorch.io.errors import InputError

DONE: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = exit_code(signal.SIGINT)

#: Each is a function of that name in a module of that name beside this one.
SUBCOMMANDS: Final = ("train", "generate", "chat", "evaluate", "prepare", "evolution", "backends")

#: The base of what typer raises for wrong usage. Newer versions carry a click of their own, so it is reached through a public name.
UsageError: Final[Any] = typer.BadParameter.__base__


class _Subcommands(TyperGroup):
    """Imports the module of a subcommand when that subcommand is asked for, so that none waits for the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in SUBCOMMANDS:
            ctx.fail(f"there is no command {cmd_name!r}; there are {', '.join(SUBCOMMANDS)}")
        return _subcommand(cmd_name)


def _subcommand(name: str) -> Any:
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(name)(getattr(import_module(f"tinytorch.cli.{name}"), name))
    return typer.main.get_command(one)


app = typer.Typer(cls=_Subcommands, add_completion=False, rich_markup_mode=None, options_metavar="[OPTIONS]")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tinytorch {__version__}")
        raise typer.Exit


@app.callback()
def tinytorch(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None:
    """Train a small language model on any array library, and write with it."""
    # `debug` is declared for `--help` alone: `main` takes it out of the arguments, wherever it stands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what was typed after ``tinytorch``; those of this process where left out.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or input, 130, 143 and 129 for SIGINT, SIGTERM and SIGHUP. An error is one sentence
        on standard error.
    """
    open_standard_streams()
    words, debug = _take_debug(sys.argv[1:] if arguments is None else list(arguments))
    with suppress(AttributeError):  # what stands in for standard output need not be a text file
        # print a `?` for what the terminal's encoding lacks: a text may hold any character, and a run must not end for one
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        with signal_handler(terminate, TERMINATION):
            code = _invoke(words or ["--help"])
            if not code:
                sys.stdout.flush()  # while errors are still handled, and not when Python exits
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        code = FAILED
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted", debug)
        code = INTERRUPTED
    except Terminated as error:
        _complain(str(error), debug)
        code = exit_code(error.signum)
    except Exception as error:
        code, sentence = explain(error)
        _complain(_in_options(sentence, words), debug)
    flush_output()
    return code


def _invoke(words: list[str]) -> int:
    """Run the subcommand that `words` ask for; its errors pass."""
    try:
        # not `app()`: typer would print errors its own way
        with typer.main.get_command(app).make_context("tinytorch", words) as context:
            context.command.invoke(context)
    except typer.Exit as chosen:
        return chosen.exit_code
    return DONE


def explain(error: Exception) -> tuple[int, str]:
    """The exit code for an error that ended a subcommand, and one sentence that says what happened and what to do."""
    if isinstance(error, UsageError):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "tinytorch"
        return WRONG_INPUT, f"{error.format_message().rstrip('.')} (see `{path} --help`)"
    if isinstance(error, InputError | UnknownBackendError | BackendUnavailableError):
        return WRONG_INPUT, str(error)
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return FAILED, f"{where}{error.strerror}"
    from tinytorch.training import DivergedError  # not at the top: the other subcommands do without that package

    if isinstance(error, DivergedError | FloatingPointError | OutputError):  # in training, of a model that has learned, of standard output
        return FAILED, str(error)
    message = " ".join([f"{type(error).__name__}:", *str(error).split()])  # other people's messages may fill a page
    return FAILED, f"{message.rstrip(':')}; run again with --debug for the details"


def _in_options(sentence: str, words: Sequence[str]) -> str:
    """A sentence of the library with the options of the subcommand that was typed in place of arguments."""
    name = next((word for word in words if not word.startswith("-")), "")
    if name not in SUBCOMMANDS or f"tinytorch.cli.{name}" not in sys.modules:  # it may be the import that failed
        return sentence
    named = [(parameter.name, parameter.opts[0]) for parameter in _subcommand(name).params]
    return in_options(sentence, name, {argument: option for argument, option in named if option.startswith("--")})


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, and whether it was among them; what follows a ``--`` is no option."""
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != "--debug"]
    return options + words[end:], len(options) < end


def _complain(sentence: str, debug: bool) -> None:
    """Say on standard error what went wrong; called while the error is being handled."""
    with suppress(OSError):  # nobody reads it
        if debug:
            traceback.print_exc()
        print(f"error: {sentence}", file=sys.stderr, flush=True)
