"""`tinytorch evaluate`: its output and its errors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy
import pytest

import tinytorch as tt
from tests.cli.tiny import TEXT, Command
from tinytorch.io.files import load_arrays, save_arrays
from tinytorch.training import load_pretrained
from tinytorch.training.evaluation import evaluate


def test_the_command_prints_the_metrics_of_the_function(tinytorch: Command, run: str) -> None:
    result = tinytorch("evaluate run play.txt --stride 3")
    assert (result.code, result.err) == (0, "")
    with tt.use_backend("numpy"):
        found = evaluate(*load_pretrained("run"), TEXT, stride=3)
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", result.out)]
    expected = [
        found.loss,
        found.perplexity,
        found.bits_per_character,
        100 * found.accuracy,
        found.bigram_bits,
        100 * found.bigram_ratio,
    ]
    assert numbers == pytest.approx(expected, abs=0.06)
    assert f"{len(TEXT) - 1:,} predicted tokens ({len(TEXT) - 1:,} characters), windows of 8 tokens" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_unknown_characters_are_counted(tinytorch: Command, workdir: Path, run: str) -> None:
    (workdir / "odd.txt").write_text("To bé or nöt to bé", encoding="utf-8")
    result = tinytorch("evaluate run odd.txt")
    assert result.code == 0
    assert result.err == "3 characters of the text are not in the model's vocabulary and count as wrong predictions.\n"


def test_a_token_file_gives_the_same_output_as_its_text(tinytorch: Command, run: str) -> None:
    assert tinytorch("prepare play.txt --out play.tokens --tokenizer run").code == 0
    result = tinytorch("evaluate run play.tokens")
    assert (result.code, result.err) == (0, "")
    assert result.out == tinytorch("evaluate run play.txt").out


def test_a_text_of_one_repeated_character(tinytorch: Command, workdir: Path, run: str) -> None:
    (workdir / "same.txt").write_text("e" * 100, encoding="utf-8")
    result = tinytorch("evaluate run same.txt")
    assert (result.code, result.err) == (0, "")
    assert "bigram baseline     0.0000 bits per character\n" in result.out


@pytest.mark.parametrize("words", ["evaluate run play.txt", "generate run --length 5"])
def test_weights_that_are_nan_are_an_error(tinytorch: Command, workdir: Path, run: str, words: str) -> None:
    arrays, metadata = load_arrays(workdir / run / "model.safetensors")
    save_arrays(workdir / run / "model.safetensors", {name: array * numpy.nan for name, array in arrays.items()}, metadata)
    result = tinytorch(words)
    assert result.code == 1
    assert result.err.startswith("error: the model's lo")
    assert "finite" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("evaluate run play.txt --stride 9", "--stride must be at least 1 and at most the window's 8 tokens"),
        ("evaluate run none.txt", "there is no file none.txt"),
        ("evaluate run odd.tokens", "odd.tokens was tokenized with another tokenizer than the model's; prepare the text again"),
        ("evaluate none play.txt", "none does not exist"),
        ("evaluate run", "Missing argument 'text'"),
    ],
)
def test_invalid_arguments_print_one_line(tinytorch: Command, workdir: Path, run: str, words: str, named: str) -> None:
    (workdir / "odd.txt").write_text("other words", encoding="utf-8")
    assert tinytorch("prepare odd.txt --out odd.tokens").code == 0
    result = tinytorch(words)
    assert (result.code, result.out) == (2, "")
    assert named in result.err
