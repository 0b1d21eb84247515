"""A place to run the command in, and the command itself, in this process."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on the text, for tests to copy: training one for each takes longer than they do."""
    place = tmp_path_factory.mktemp("trained")
    (place / "play.txt").write_text(TEXT, encoding="utf-8")
    options = ["--steps", "2", "--backend", "numpy", "--out", str(place / "run")]
    assert main(["train", str(place / "play.txt"), *TINY, *options]) == 0
    return place / "run"


@pytest.fixture
def run(trained: Path, place: Path) -> str:
    """The name of such a run's directory."""
    shutil.copytree(trained, place / "run")
    return "run"


@pytest.fixture
def train(tinytorch: Command) -> Command:
    """``tinytorch train play.txt`` with a tiny model, and further options in a string."""

    def run(options: str = "") -> Result:
        return tinytorch("train", "play.txt", *TINY, *options.split())

    return run
