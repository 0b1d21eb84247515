"""Errors of the library name arguments, which the command replaces by what is typed for them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tinytorch as package
from tests.cli.tiny import Command
from tinytorch.cli.options import in_options

ROOT = Path(package.__file__).parent
LIBRARY = [path for path in sorted(ROOT.rglob("*.py")) if "cli" not in path.relative_to(ROOT).parts]
OPTIONS = {"batch_size": "--batch-size", "checkpoint_activations": "--checkpoint-activations"}


@pytest.mark.parametrize(
    ("sentence", "typed"),
    [
        ("use a smaller `batch_size`", "use a smaller --batch-size"),
        ("`batch_size=8` fits, and so does `batch_size=4`", "--batch-size 8 fits, and so does --batch-size 4"),
        ("`colour` is no argument, and `pip install numpy` no option", "`colour` is no argument, and `pip install numpy` no option"),
        ("choose another `directory`", "choose another directory with --out"),
        ("continue it with `Run.resume`", "continue it with --resume"),
        ("or start a new run with `Run.start`", "or start a new run without --resume"),
        ("pass it as `file`", "pass it as TEXT"),
    ],
)
def test_arguments_become_options(sentence: str, typed: str) -> None:
    assert in_options(sentence, "train", OPTIONS) == typed


def test_another_subcommand_has_other_names() -> None:
    assert in_options("choose another `directory` or `file`", "evolution", {}) == "choose another directory with --out or `file`"
    assert in_options("choose another `directory`", "generate", OPTIONS) == "choose another `directory`"


def test_an_error_names_options_of_the_subcommand_that_was_typed(tinytorch: Command) -> None:
    assert "--num-heads must divide --d-model" in tinytorch("train play.txt --num-heads 3 --d-model 32").err
    assert "leave --data-dir out" in tinytorch("evolution --data-dir .").err


def messages(path: Path) -> list[str]:
    """The strings in a file, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements
    ]


def test_no_message_of_the_library_names_an_option() -> None:
    assert any("`block_size`" in text for path in LIBRARY for text in messages(path))
    assert [(path.name, text) for path in LIBRARY for text in messages(path) if re.search(r"(?<!-)--[a-z]", text)] == []
