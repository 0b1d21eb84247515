"""The code in the README and docs/transformations.md runs, and the README names only existing options and paths."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import tinytorch as tt
from tinytorch.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """The Python code blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


BLOCKS = blocks(README)
MODELS = (ROOT / "docs" / "language_models.md").read_text(encoding="utf-8")
WORDS = r"tinytorch (?:train|generate|backends|chat|evaluate|prepare) [^`\n&|]*"
COMMANDS = [shlex.split(line, comments=True) for line in re.findall(WORDS, README + MODELS)]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_python_block_runs(number: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a block may create a run directory
    code = BLOCKS[number]
    if '"strict"' in code:
        pytest.importorskip("array_api_strict", reason="the block uses array-api-strict, which is not installed")
    with tt.use_backend("numpy"):
        exec(compile(code, f"README block {number + 1}", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_the_code_of_the_transformations_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(blocks((ROOT / "docs" / "transformations.md").read_text(encoding="utf-8")))
    with tt.use_backend("numpy"):
        exec(compile(code, "docs/transformations.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out


def test_the_readme_has_blocks_and_commands() -> None:
    assert len(BLOCKS) >= 4
    assert {command[1] for command in COMMANDS} >= {"train", "generate"}


@pytest.mark.parametrize("command", sorted({command[1] for command in COMMANDS}))
def test_options_in_the_readme_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    offered = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    named = {word for words in COMMANDS if words[1] == command for word in words if word.startswith("--")}
    assert named <= offered


def test_paths_in_the_readme_exist() -> None:
    root = Path(__file__).parent.parent
    named = re.findall(r"`((?:tinytorch|backends)/[a-z_./]*)`", README)
    assert named
    assert [name for name in named if not (root / name).exists()] == []
