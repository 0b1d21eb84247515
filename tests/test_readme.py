"""The Python code in the README and the guides runs, and the commands, files, pages and headings that they name exist."""

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
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
MODELS = PAGES["docs/language_models.md"]
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


@pytest.mark.parametrize("page", ["docs/guide.md", "docs/habits.md", "docs/transformations.md"])
def test_a_page_runs_from_top_to_bottom(
    page: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("array_api_strict", reason="a page uses array-api-strict, which is not installed")
    run_page(page, PAGES[page], tmp_path, monkeypatch)
    assert capsys.readouterr().out


def test_the_page_on_language_models_runs_with_fewer_steps(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers", reason="the page learns byte pairs: pip install tokenizers")
    (tmp_path / "plays.txt").write_text("ROMEO: the quick brown fox jumps over the lazy dog.\n\n" * 200, encoding="utf-8")
    short = MODELS.replace("steps=6000", "steps=4").replace("steps=8000", "steps=6").replace("512", "280")
    run_page("docs/language_models.md", short, tmp_path, monkeypatch)
    assert capsys.readouterr().out


def run_page(name: str, text: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all blocks of Python in a page, one after another, in a directory that it may write to."""
    monkeypatch.chdir(directory)
    code = "\n".join(blocks(text))
    with tt.use_backend("numpy"):
        exec(compile(code, name, "exec"), {"__name__": "page"})


def test_there_are_blocks_and_commands() -> None:
    assert len(BLOCKS) >= 4
    assert {command[1] for command in COMMANDS} >= {"train", "generate"}


@pytest.mark.parametrize("command", sorted({command[1] for command in COMMANDS}))
def test_options_in_the_readme_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    offered = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    named = {word for words in COMMANDS if words[1] == command for word in words if word.startswith("--")}
    assert named <= offered


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_named_places_exist(page: str) -> None:
    named = re.findall(r"`((?:tinytorch|backends|tests|docs)/[a-z_0-9./]*)`", PAGES[page])
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def without_code_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """What GitHub makes of a page's headings: lower case, without punctuation, a hyphen for each space."""
    headings = re.findall(r"^#+ (.*)$", without_code_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_headings_that_exist(page: str) -> None:
    broken = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_code_blocks(PAGES[page])):
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        if not found.exists() or (anchor and anchor not in anchors(found.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []
