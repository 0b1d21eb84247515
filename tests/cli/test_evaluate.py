"""`tinytorch evaluate`: what it prints, and the whole text behind it."""

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


def test_it_prints_what_the_function_measures(tinytorch: Command, run: str) -> None:
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
        100 * found.share_of_bigram,
    ]
    assert numbers == pytest.approx(expected, abs=0.06)
    assert f"over {len(TEXT) - 1:,} tokens for {len(TEXT) - 1:,} characters, in windows of 8" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_characters_that_the_model_never_saw_are_counted_aloud(tinytorch: Command, place: Path, run: str) -> None:
    (place / "odd.txt").write_text("To bé or nöt to bé", encoding="utf-8")
    result = tinytorch("evaluate run odd.txt")
    assert result.code == 0
    assert result.err == "3 characters of the text were never seen by the model, and count as wrong guesses.\n"


def test_a_prepared_file_gives_the_table_of_its_text(tinytorch: Command, run: str) -> None:
    assert tinytorch("prepare play.txt --out play.tokens --tokenizer run").code == 0
    result = tinytorch("evaluate run play.tokens")
    assert (result.code, result.err) == (0, "")
    assert result.out == tinytorch("evaluate run play.txt").out


def test_one_character_over_and_over_gives_a_table(tinytorch: Command, place: Path, run: str) -> None:
    (place / "same.txt").write_text("e" * 100, encoding="utf-8")
    result = tinytorch("evaluate run same.txt")
    assert (result.code, result.err) == (0, "")
    assert "bigram baseline     0.0000 bits per character\n" in result.out


@pytest.mark.parametrize("words", ["evaluate run play.txt", "generate run --length 5"])
def test_weights_that_are_not_numbers_are_refused(tinytorch: Command, place: Path, run: str, words: str) -> None:
    arrays, metadata = load_arrays(place / run / "model.safetensors")
    save_arrays(place / run / "model.safetensors", {name: array * numpy.nan for name, array in arrays.items()}, metadata)
    result = tinytorch(words)
    assert result.code == 1
    assert result.err.startswith("error: the model's lo")
    assert "finite number" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("evaluate run play.txt --stride 9", "--stride must be at least 1 and at most the window's 8 tokens"),
        ("evaluate run none.txt", "there is no file none.txt"),
        ("evaluate run odd.tokens", "odd.tokens has other tokens than the model; prepare the text again"),
        ("evaluate none play.txt", "none does not exist"),
        ("evaluate run", "Missing argument 'text'"),
    ],
)
def test_what_cannot_be_is_one_sentence(tinytorch: Command, place: Path, run: str, words: str, named: str) -> None:
    (place / "odd.txt").write_text("other words", encoding="utf-8")
    assert tinytorch("prepare odd.txt --out odd.tokens").code == 0
    result = tinytorch(words)
    assert (result.code, result.out) == (2, "")
    assert named in result.err
