"""`tinytorch prepare`: a text as a file of tokens, and training from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.tiny import TEXT, TINY, Command
from tinytorch.text import TokenFile


def weights(place: Path, run: str) -> bytes:
    return (place / run / "model.safetensors").read_bytes()


def test_a_file_of_tokens_trains_as_its_text_does(train: Command, tinytorch: Command, place: Path) -> None:
    result = tinytorch("prepare play.txt --out play.tokens")
    assert (result.code, result.err) == (0, "")
    assert f"{len(TEXT):,} tokens (uint16) for {len(TEXT):,} characters, 1.00 each, in play.tokens" in result.out
    assert "tinytorch train play.tokens" in result.out
    assert tinytorch("train", "play.tokens", *TINY, "--steps", "6", "--out", "prepared").code == 0
    train("--steps 6 --out plain")
    assert weights(place, "prepared") == weights(place, "plain")
    assert json.loads((place / "prepared" / "config.json").read_text(encoding="utf-8"))["text"]["characters"] == len(TEXT)


def test_a_run_may_go_on_from_either(train: Command, tinytorch: Command, place: Path) -> None:
    tinytorch("prepare play.txt --out play.tokens")
    train("--steps 4 --decay-steps 9 --out straight")
    train("--steps 2 --decay-steps 9 --out run")
    assert tinytorch("train play.tokens --resume --out run --steps 3").code == 0
    assert tinytorch("train play.txt --resume --out run --steps 4").code == 0
    assert weights(place, "run") == weights(place, "straight")


def test_byte_pairs_are_learned_and_a_models_own_are_used(tinytorch: Command, place: Path) -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    assert tinytorch("prepare play.txt --out a.tokens --tokenizer bpe --vocab-size 270").code == 0
    assert tinytorch("train", "a.tokens", *TINY, "--steps", "1", "--out", "run").code == 0
    assert tinytorch("prepare play.txt --out b.tokens --tokenizer run").code == 0
    assert (place / "a.tokens").read_bytes() == (place / "b.tokens").read_bytes()
    assert TokenFile.open(place / "a.tokens").tokenizer.get_vocab_size() == 270


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("prepare play.txt --out play.txt", "play.txt is there already"),
        ("prepare none.txt --out a.tokens", "there is no file none.txt"),
        ("prepare play.txt --out a.tokens --vocab-size 300", "--vocab-size is for --tokenizer bpe"),
        ("prepare play.txt --out a.tokens --tokenizer word", "--tokenizer is char, bpe or the directory of a model, got 'word'"),
        ("train play.tokens --tokenizer char", "play.tokens brings its tokenizer; leave out --tokenizer"),
        ("train play.tokens --resume --out run --steps 3", "play.tokens is not the text of run"),
        ("prepare odd.txt --out a.tokens --tokenizer run", "the text has characters that the model never saw: 'ö'"),
        ("train cut.tokens", "cut.tokens is truncated"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tinytorch: Command, place: Path, run: str, words: str, named: str) -> None:
    (place / "odd.txt").write_text("Tö be, " * 50, encoding="utf-8")
    assert tinytorch("prepare odd.txt --out play.tokens").code == 0
    (place / "cut.tokens").write_bytes((place / "play.tokens").read_bytes()[:-2])
    before = sorted(place.rglob("*"))
    result = tinytorch(words)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert named in result.err
    assert sorted(place.rglob("*")) == before
