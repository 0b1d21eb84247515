"""The command replaces argument names in library errors by its options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tinytorch as package
from tests.cli.tiny import Command
from tinytorch.cli.options import with_option_names

ROOT = Path(package.__file__).parent
LIBRARY = [path for path in sorted(ROOT.rglob("*.py")) if "cli" not in path.relative_to(ROOT).parts]
OPTIONS = {"batch_size": "--batch-size", "checkpoint_activations": "--checkpoint-activations"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("use a smaller `batch_size`", "use a smaller --batch-size"),
        ("`batch_size=8` fits, and so does `batch_size=4`", "--batch-size 8 fits, and so does --batch-size 4"),
        (
            "`color` is not an argument, and `pip install numpy` is not an option",
            "`color` is not an argument, and `pip install numpy` is not an option",
        ),
        ("choose another `directory`", "choose another directory with --out"),
        ("continue it with `Run.resume`", "continue it with --resume"),
        ("or start a new run with `Run.start`", "or start a new run without --resume"),
        ("pass it as `file`", "pass it as TEXT"),
    ],
)
def test_arguments_are_replaced_by_options(message: str, expected: str) -> None:
    assert with_option_names(message, "train", OPTIONS) == expected


def test_replacements_depend_on_the_subcommand() -> None:
    assert with_option_names("choose another `directory` or `file`", "evolution", {}) == "choose another directory with --out or `file`"
    assert with_option_names("choose another `directory`", "generate", OPTIONS) == "choose another `directory`"


def test_an_error_names_the_options_of_the_subcommand(tinytorch: Command) -> None:
    assert "--num-heads must divide --d-model" in tinytorch("train play.txt --num-heads 3 --d-model 32").err
    assert "leave --data-dir out" in tinytorch("evolution --data-dir .").err


def messages(path: Path) -> list[str]:
    """All strings in a file except docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements
    ]


def test_library_messages_do_not_name_options() -> None:
    assert any("`block_size`" in text for path in LIBRARY for text in messages(path))
    assert [(path.name, text) for path in LIBRARY for text in messages(path) if re.search(r"(?<!-)--[a-z]", text)] == []
