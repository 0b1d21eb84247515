"""Fixtures: a working directory, and functions that run the command in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.tiny import TEXT, TINY, Command, Result
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.cli import main


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a temporary one with a text file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "numpy")
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "play.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def tinytorch(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command: ``tinytorch("train", ...)``, or all arguments in one string."""

    def run(*words: str) -> Result:
        capsys.readouterr()
        code = main(words[0].split() if len(words) == 1 else list(words))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps that tests copy, since training one per test would be slow."""
    workdir = tmp_path_factory.mktemp("trained")
    (workdir / "play.txt").write_text(TEXT, encoding="utf-8")
    options = ["--steps", "2", "--backend", "numpy", "--out", str(workdir / "run")]
    assert main(["train", str(workdir / "play.txt"), *TINY, *options]) == 0
    return workdir / "run"


@pytest.fixture
def run(trained: Path, workdir: Path) -> str:
    """The directory of a copy of that run."""
    shutil.copytree(trained, workdir / "run")
    return "run"


@pytest.fixture
def train(tinytorch: Command) -> Command:
    """Run ``tinytorch train play.txt`` with a tiny model and more options in a string."""

    def run(options: str = "") -> Result:
        return tinytorch("train", "play.txt", *TINY, *options.split())

    return run
