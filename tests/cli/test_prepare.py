"""`tinytorch prepare`: token files, and training on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.tiny import TEXT, TINY, Command
from tinytorch.text import TokenFile


def weights(workdir: Path, run: str) -> bytes:
    return (workdir / run / "model.safetensors").read_bytes()


def test_training_on_a_token_file_equals_training_on_its_text(train: Command, tinytorch: Command, workdir: Path) -> None:
    result = tinytorch("prepare play.txt --out play.tokens")
    assert (result.code, result.err) == (0, "")
    assert f"{len(TEXT):,} tokens (uint16) from {len(TEXT):,} characters (1.00 per token), saved to play.tokens" in result.out
    assert "tinytorch train play.tokens" in result.out
    assert tinytorch("train", "play.tokens", *TINY, "--steps", "6", "--out", "prepared").code == 0
    train("--steps 6 --out plain")
    assert weights(workdir, "prepared") == weights(workdir, "plain")
    assert json.loads((workdir / "prepared" / "config.json").read_text(encoding="utf-8"))["text"]["characters"] == len(TEXT)


def test_a_run_can_be_resumed_with_the_text_or_its_token_file(train: Command, tinytorch: Command, workdir: Path) -> None:
    tinytorch("prepare play.txt --out play.tokens")
    train("--steps 4 --decay-steps 9 --out uninterrupted")
    train("--steps 2 --decay-steps 9 --out run")
    assert tinytorch("train play.tokens --resume --out run --steps 3").code == 0
    assert tinytorch("train play.txt --resume --out run --steps 4").code == 0
    assert weights(workdir, "run") == weights(workdir, "uninterrupted")


def test_a_bpe_tokenizer_is_trained_or_taken_from_a_model(tinytorch: Command, workdir: Path) -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    assert tinytorch("prepare play.txt --out a.tokens --tokenizer bpe --vocab-size 270").code == 0
    assert tinytorch("train", "a.tokens", *TINY, "--steps", "1", "--out", "run").code == 0
    assert tinytorch("prepare play.txt --out b.tokens --tokenizer run").code == 0
    assert (workdir / "a.tokens").read_bytes() == (workdir / "b.tokens").read_bytes()
    assert TokenFile.open(workdir / "a.tokens").tokenizer.get_vocab_size() == 270


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("prepare play.txt --out play.txt", "play.txt already exists"),
        ("prepare none.txt --out a.tokens", "there is no file none.txt"),
        ("prepare play.txt --out a.tokens --vocab-size 300", "--vocab-size requires --tokenizer bpe"),
        ("prepare play.txt --out a.tokens --tokenizer word", "--tokenizer must be char, bpe or the directory of a model, got 'word'"),
        ("train play.tokens --tokenizer char", "play.tokens has its own tokenizer; leave out --tokenizer"),
        ("train play.tokens --resume --out run --steps 3", "play.tokens is not the text of run"),
        ("prepare odd.txt --out a.tokens --tokenizer run", "the text has characters that are not in the tokenizer's vocabulary: 'ö'"),
        ("train cut.tokens", "cut.tokens is truncated"),
    ],
)
def test_invalid_arguments_are_named_in_the_error(tinytorch: Command, workdir: Path, run: str, words: str, named: str) -> None:
    (workdir / "odd.txt").write_text("Tö be, " * 50, encoding="utf-8")
    assert tinytorch("prepare odd.txt --out play.tokens").code == 0
    (workdir / "cut.tokens").write_bytes((workdir / "play.tokens").read_bytes()[:-2])
    before = sorted(workdir.rglob("*"))
    result = tinytorch(words)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert named in result.err
    assert sorted(workdir.rglob("*")) == before
