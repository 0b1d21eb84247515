"""The commands on a GPT-2 directory whose tokenizer was saved with truncation and padding enabled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tinytorch as tt
from tests.cli.tiny import TEXT, Command
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.text import BPETokenizer, TokenFile
from tinytorch.training import load_pretrained

tokenizers = pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")

SMALL = ["--block-size", "8", "--batch-size", "4", "--steps", "2"]


@pytest.fixture
def directories(workdir: Path) -> tuple[str, str]:
    """A GPT-2 directory, and a copy with the settings that `transformers` saves after ``tokenizer(x, truncation=True, padding=True)``."""
    with tt.use_backend("numpy"):
        tt.seed(0)
        model = TinyGPT(270, d_model=16, num_heads=2, num_layers=1, max_length=16, positional="learned", tie_weights=True)
        model.save_pretrained(workdir / "plain")
    BPETokenizer.train(TEXT, 270).save_pretrained(workdir / "plain")
    shutil.copytree(workdir / "plain", workdir / "cut")
    engine = tokenizers.Tokenizer.from_file(str(workdir / "plain" / "tokenizer.json"))
    engine.enable_truncation(4)
    engine.enable_padding(pad_id=7, length=64)
    engine.save(str(workdir / "cut" / "tokenizer.json"))
    return "plain", "cut"


def test_prepare_encodes_the_whole_text(tinytorch: Command, workdir: Path, directories: tuple[str, str]) -> None:
    for name in directories:
        assert tinytorch(f"prepare play.txt --out {name}.tokens --tokenizer {name}").code == 0
    plain, cut = (TokenFile.open(workdir / f"{name}.tokens") for name in directories)
    assert cut.tokenizer.decode(cut.tokens) == TEXT
    assert cut.tokens.tolist() == plain.tokens.tolist()


def test_evaluate_measures_the_whole_text(tinytorch: Command, directories: tuple[str, str]) -> None:
    plain, cut = (tinytorch(f"evaluate {name} play.txt") for name in directories)
    assert (cut.code, cut.out) == (0, plain.out)
    tokenizer = BPETokenizer.from_gpt2("plain")
    first = tokenizer.decode(tokenizer.encode(TEXT)[:1])  # not predicted
    assert f"({len(TEXT) - len(first):,} characters)" in cut.out


def test_training_uses_the_whole_text(tinytorch: Command, workdir: Path, directories: tuple[str, str]) -> None:
    for name in directories:
        assert tinytorch("train", "play.txt", "--init-from", name, "--out", f"run-{name}", *SMALL).code == 0
    plain, cut = ((workdir / f"run-{name}" / "model.safetensors").read_bytes() for name in directories)
    assert cut == plain
    assert json.loads((workdir / "run-cut" / "config.json").read_text(encoding="utf-8"))["text"]["characters"] == len(TEXT)


def test_a_prompt_is_not_truncated(tinytorch: Command, directories: tuple[str, str]) -> None:
    plain, cut = (tinytorch("generate", name, "--prompt", TEXT[:40], "--length", "9", "--temperature", "0") for name in directories)
    assert (cut.code, cut.out) == (0, plain.out)


def test_a_run_is_not_overwritten(tinytorch: Command, workdir: Path, directories: tuple[str, str]) -> None:
    assert tinytorch("train", "play.txt", "--init-from", "plain", "--out", "run", *SMALL).code == 0
    before = {path.name: path.read_bytes() for path in (workdir / "run").iterdir()}
    with tt.use_backend("numpy"):
        for part in load_pretrained("run"):
            with pytest.raises(InputError, match="run contains a training run, which would be overwritten"):
                part.save_pretrained("run")
    assert {path.name: path.read_bytes() for path in (workdir / "run").iterdir()} == before
