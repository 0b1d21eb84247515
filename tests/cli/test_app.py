"""Errors print one line and set the exit code; modules are imported only when needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import tinytorch
from tinytorch.backend import BackendMismatchError, BackendUnavailableError, UnknownBackendError
from tinytorch.cli import app, main
from tinytorch.io.errors import InputError
from tinytorch.training import DivergedError

ROOT = Path(__file__).parents[2]


def start(*arguments: str, stdout: Any = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a separate process."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Registers a function as the subcommand `trial`."""

    def add(function: Callable[..., None]) -> None:
        module = ModuleType("tinytorch.cli.trial")
        module.trial = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "tinytorch.cli.trial", module)
        monkeypatch.setattr(app, "SUBCOMMANDS", (*app.SUBCOMMANDS, "trial"))

    return add


def raising(error: BaseException) -> Callable[[], None]:
    def trial() -> None:
        raise error

    return trial


Command = Callable[[Callable[..., None]], None]
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("the text [a] is empty; give another"), 2, "the text [a] is empty; give another"),
        (UnknownBackendError("no backend is called 'x'"), 2, "no backend is called 'x'"),
        (BackendUnavailableError("mine", "no chip", "solder"), 2, "the mine backend cannot run here: no chip; solder"),
        (DivergedError("the loss is not finite"), 1, "the loss is not finite"),
        (PermissionError(13, "Permission denied", "runs/a"), 1, "runs/a: Permission denied"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (BackendMismatchError("an internal error"), 1, "BackendMismatchError: an internal error; run again with --debug for the details"),
        (KeyError("two\n lines"), 1, r"KeyError: 'two\n lines'; run again with --debug for the details"),
        (RuntimeError("two\n  lines"), 1, "RuntimeError: two lines; run again with --debug for the details"),
        (RuntimeError(), 1, "RuntimeError; run again with --debug for the details"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_prints_one_line_and_sets_the_exit_code(
    command: Command, capsys: Capture, error: BaseException, code: int, message: str
) -> None:
    command(raising(error))
    assert main(["trial"]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {message}\n")


def test_an_import_error_of_a_subcommand_prints_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SUBCOMMANDS", (*app.SUBCOMMANDS, "missing"))
    assert main(["missing"]) == 1
    err = capsys.readouterr().err
    assert err == "error: ModuleNotFoundError: No module named 'tinytorch.cli.missing'; run again with --debug for the details\n"


@pytest.mark.parametrize("arguments", [["--debug", "trial"], ["trial", "--debug"]])
def test_debug_is_accepted_at_any_position(command: Command, capsys: Capture, arguments: list[str]) -> None:
    command(raising(InputError("the text is empty")))
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("error: the text is empty\n")


def test_arguments_after_two_dashes_are_not_options(command: Command, capsys: Capture) -> None:
    def trial(word: str) -> None:
        print(word)

    command(trial)
    assert main(["trial", "--", "--debug"]) == 0
    assert capsys.readouterr().out == "--debug\n"


def test_a_subcommand_can_set_the_exit_code(command: Command, capsys: Capture) -> None:
    command(raising(typer.Exit(130)))
    assert main(["trial"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trin"], ["no command 'trin'", "train, generate, chat, evaluate, prepare, evolution, backends", "`tinytorch --help`"]),
        (["--color"], ["--color", "`tinytorch --help`"]),
        (["backends", "--xml"], ["--xml", "`tinytorch backends --help`"]),
        (["backends", "numpy"], ["numpy", "`tinytorch backends --help`"]),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_help(capsys: Capture, arguments: list[str], parts: list[str]) -> None:
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert all(part in err for part in parts)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--debug"]])
def test_help_lists_every_subcommand_with_a_complete_sentence(capsys: Capture, arguments: list[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in out.partition("Commands:\n")[2].splitlines())
    assert list(lines) == ["train", "generate", "chat", "evaluate", "prepare", "evolution", "backends"]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines.values())


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tinytorch {tinytorch.__version__}\n"


def test_the_process_exits_with_the_code_and_prints_no_traceback() -> None:
    done = start("-m", "tinytorch", "train", TINYTORCH_BACKEND="nonesuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: TINYTORCH_BACKEND=nonesuch: unknown backend 'nonesuch'")
    assert done.stderr.count("\n") == 1


def test_a_subcommand_does_not_import_the_others() -> None:
    done = start(
        "-c", "import sys; from tinytorch.cli import main; main(['backends', '--json']); print('tinytorch.training' in sys.modules)"
    )
    assert done.stdout.endswith("]\nFalse\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end differently on Windows")
def test_a_closed_pipe_prints_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)  # `head` has already exited
    try:
        done = start("-m", "tinytorch", "--help", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_prints_one_line() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = start("-m", "tinytorch", "--version", stdout=full)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


CLOSE = "import os, sys; [os.close(n) for n in {}]; os.execv(sys.executable, [sys.executable, '-m', 'tinytorch', *sys.argv[1:]])"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such descriptors")
@pytest.mark.parametrize("closed", [[1], [2], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["backends"], ["backends", "--json"], ["train", "--help"]])
def test_closed_standard_streams_are_not_an_error(closed: list[int], words: list[str]) -> None:
    done = start("-c", CLOSE.format(closed), *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (1 not in closed)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such descriptors")
def test_errors_are_not_written_to_closed_streams() -> None:
    for closed, error in (([1], "error: there is no command 'trin'"), ([2], ""), ([1, 2], "")):
        done = start("-c", CLOSE.format(closed), "trin")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(error)
        assert bool(done.stderr) == bool(error)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such descriptors")
def test_files_do_not_get_the_descriptor_of_a_closed_stream() -> None:
    code = "; ".join(
        [
            "import os",
            "[os.close(n) for n in range(3)]",
            "from tinytorch.cli.output import open_standard_streams",
            "open_standard_streams()",
            "os._exit(os.open(os.devnull, os.O_RDONLY))",
        ]
    )
    assert start("-c", code).returncode == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(("error", "code"), [("KeyboardInterrupt", 130), ("typer.Exit(129)", 129), ("InputError('no')", 2)])
def test_failing_output_does_not_change_the_exit_code(error: str, code: int) -> None:
    source = f"""
import sys, types, typer
from tinytorch.cli import app
from tinytorch.io.errors import InputError
def trial():
    print("a line")
    raise {error}
sys.modules["tinytorch.cli.trial"] = types.SimpleNamespace(trial=trial)
app.SUBCOMMANDS = (*app.SUBCOMMANDS, "trial")
sys.exit(app.main(["trial"]))
"""
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = start("-c", source, stdout=full, PYTHONUNBUFFERED="")  # so that the line is written when Python exits
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_subcommand_after_cleanup(command: Command, capsys: Capture, signum: int, code: int) -> None:
    cleaned = []

    def trial() -> None:
        try:
            os.kill(os.getpid(), signum)
            pytest.fail("the signal did not end the subcommand")
        finally:
            os.kill(os.getpid(), signum)  # a closed terminal sends the signal twice
            cleaned.append(True)

    before = signal.getsignal(signum)
    command(trial)
    assert main(["trial"]) == code
    assert capsys.readouterr().err == f"error: ended by {signal.Signals(signum).name}\n"
    assert cleaned == [True]
    assert signal.getsignal(signum) is before


def test_characters_that_cannot_be_encoded_do_not_end_a_run() -> None:
    code = "from tinytorch.cli import main; main(['--version']); print('caf\\xe9')"
    assert start("-c", code, PYTHONIOENCODING="ascii").stdout.endswith("caf?\n")
