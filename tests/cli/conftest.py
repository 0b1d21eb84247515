"""A place to run the command in, and the command itself, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.tiny import TEXT, TINY, Command, Result
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.cli import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with a text in it, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "numpy")
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "play.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def tinytorch(place: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command: ``tinytorch("train", ...)``, or one string of words."""

    def run(*words: str) -> Result:
        capsys.readouterr()
        code = main(words[0].split() if len(words) == 1 else list(words))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def train(tinytorch: Command) -> Command:
    """``tinytorch train play.txt`` with a tiny model, and further options in a string."""

    def run(options: str = "") -> Result:
        return tinytorch("train", "play.txt", *TINY, *options.split())

    return run
