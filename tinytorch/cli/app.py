"""The `tinytorch` command: its subcommands, global options and error handling."""

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
from tinytorch.cli.options import with_option_names
from tinytorch.cli.output import OutputError, flush_output, open_standard_streams
from tinytorch.cli.signals import TERMINATION, Terminated, exit_code, signal_handler, terminate
from tinytorch.io.errors import InputError

DONE: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = exit_code(signal.SIGINT)

#: Each subcommand is a function in the module of the same name in this package.
SUBCOMMANDS: Final = ("train", "generate", "chat", "evaluate", "prepare", "evolution", "backends")

#: Base class of typer's usage errors. Newer versions of typer include their own copy of click, so it is looked up through a public name.
UsageError: Final[Any] = typer.BadParameter.__base__


class _Subcommands(TyperGroup):
    """Imports the module of a subcommand only when it is used, so that the command starts quickly."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in SUBCOMMANDS:
            ctx.fail(f"there is no command {cmd_name!r}; choose one of {', '.join(SUBCOMMANDS)}")
        return _subcommand(cmd_name)


def _subcommand(name: str) -> Any:
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(getattr(import_module(f"tinytorch.cli.{name}"), name))
    return typer.main.get_command(single)


app = typer.Typer(cls=_Subcommands, add_completion=False, rich_markup_mode=None, options_metavar="[OPTIONS]")


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"tinytorch {__version__}")
        raise typer.Exit


@app.callback()
def tinytorch(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; accepted at any position.")] = False,
) -> None:
    """Train small language models on any array library, and generate text with them."""
    # `debug` is declared only for `--help`: `main` removes it from the arguments before they are parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the command-line arguments after ``tinytorch``; defaults to those of this process.

    Returns:
        The exit code: 0 for success, 1 for failure, 2 for invalid usage or input, and 130, 143 and 129 after SIGINT, SIGTERM and SIGHUP.
        An error prints one line on standard error.
    """
    open_standard_streams()
    words, debug = _take_debug(sys.argv[1:] if arguments is None else list(arguments))
    with suppress(AttributeError):  # standard output may be replaced by an object without this method
        # print `?` for characters that the terminal's encoding lacks, instead of ending a run with an error
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        with signal_handler(terminate, TERMINATION):
            code = _invoke(words or ["--help"])
            if not code:
                sys.stdout.flush()  # here, where errors are still handled, and not when Python exits
    except BrokenPipeError:  # the reader, such as `head`, has exited
        code = FAILED
    except (KeyboardInterrupt, typer.Abort):
        _print_error("interrupted", debug)
        code = INTERRUPTED
    except Terminated as error:
        _print_error(str(error), debug)
        code = exit_code(error.signum)
    except Exception as error:
        code, message = explain(error)
        _print_error(_with_option_names(message, words), debug)
    flush_output()
    return code


def _invoke(words: list[str]) -> int:
    """Run the subcommand in `words`. Errors are not caught."""
    try:
        # not `app()`, which would print errors itself
        with typer.main.get_command(app).make_context("tinytorch", words) as context:
            context.command.invoke(context)
    except typer.Exit as exited:
        return exited.exit_code
    return DONE


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and a one-line message for an error that ended a subcommand."""
    if isinstance(error, UsageError):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "tinytorch"
        return WRONG_INPUT, f"{error.format_message().rstrip('.')} (see `{path} --help`)"
    if isinstance(error, InputError | UnknownBackendError | BackendUnavailableError):
        return WRONG_INPUT, str(error)
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return FAILED, f"{where}{error.strerror}"
    from tinytorch.training import DivergedError  # imported here because it is slow, and most subcommands do not need it

    if isinstance(
        error, DivergedError | FloatingPointError | OutputError
    ):  # in training, in generation or evaluation, and on standard output
        return FAILED, str(error)
    message = " ".join([f"{type(error).__name__}:", *str(error).split()])  # messages of other libraries may have many lines
    return FAILED, f"{message.rstrip(':')}; run again with --debug for the details"


def _with_option_names(message: str, words: Sequence[str]) -> str:
    """Replace argument names in a library error by the options of the subcommand in ``words``."""
    name = next((word for word in words if not word.startswith("-")), "")
    if name not in SUBCOMMANDS or f"tinytorch.cli.{name}" not in sys.modules:  # importing the subcommand may have failed
        return message
    named = [(parameter.name, parameter.opts[0]) for parameter in _subcommand(name).params]
    return with_option_names(message, name, {argument: option for argument, option in named if option.startswith("--")})


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """Remove ``--debug`` from the arguments before ``--``. Returns the rest, and whether it was there."""
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != "--debug"]
    return options + words[end:], len(options) < end


def _print_error(message: str, debug: bool) -> None:
    """Print an error message on standard error; called while the exception is being handled."""
    with suppress(OSError):  # standard error may be closed
        if debug:
            traceback.print_exc()
        print(f"error: {message}", file=sys.stderr, flush=True)
