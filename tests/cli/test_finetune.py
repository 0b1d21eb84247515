"""`tinytorch train --init-from`: fine-tuning a pretrained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.cli.tiny import TEXT, Command
from tinytorch.io.files import load_arrays
from tinytorch.models import TinyGPT
from tinytorch.text import BPETokenizer

SMALL = ["--block-size", "8", "--batch-size", "4", "--steps", "3"]


@pytest.fixture
def gpt2(workdir: Path) -> str:
    """A GPT-2 directory whose model has more embeddings than its tokenizer has tokens."""
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    with tt.use_backend("numpy"):
        tt.seed(0)
        model = TinyGPT(280, d_model=16, num_heads=2, num_layers=2, d_ff=24, max_length=32, positional="learned", tie_weights=True)
        model.save_pretrained(workdir / "gpt2")
    BPETokenizer.train(TEXT, 270).save_pretrained(workdir / "gpt2")
    return "gpt2"


def config(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return content


def test_a_gpt2_model_can_be_fine_tuned_resumed_and_sampled(tinytorch: Command, workdir: Path, gpt2: str) -> None:
    result = tinytorch("train", "play.txt", "--init-from", gpt2, "--out", "run", *SMALL, "--accumulate", "2", "--dropout", "0")
    assert (result.code, result.err) == (0, "")
    assert "from gpt2" in result.out
    found = config(workdir / "run")
    assert (found["model"]["d_ff"], found["model"]["max_length"], found["model"]["vocab_size"]) == (24, 32, 280)
    assert found["model"]["dropout"] == 0.0
    assert (found["training"]["preset"], found["training"]["block_size"], found["training"]["d_model"]) == ("finetune", 8, 16)
    assert tinytorch("train --resume --out run --steps 5").code == 0
    assert tinytorch("generate run --prompt To --length 5").out.startswith("To")
    assert tinytorch("evaluate run play.txt").code == 0
    first = json.loads((workdir / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["train_loss"] == pytest.approx(numpy.log(280), abs=0.3)  # the model is untrained


def test_fine_tuning_starts_from_the_weights_of_a_run(train: Command, tinytorch: Command, workdir: Path) -> None:
    train("--steps 100 --out before")
    last = json.loads((workdir / "before" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    result = tinytorch("train", "play.txt", "--init-from", "before", "--out", "run", "--batch-size", "16", "--steps", "1")
    assert result.code == 0
    assert config(workdir / "run")["training"]["block_size"] == 8  # limited by the model's maximum length
    first = json.loads((workdir / "run" / "metrics.jsonl").read_text(encoding="utf-8"))
    assert first["train_loss"] == pytest.approx(last["val_loss"], abs=0.3)
    assert first["train_loss"] < numpy.log(len(set(TEXT))) - 0.4  # the loss of an untrained model


def test_the_preset_sets_the_block_size_and_the_model_its_own_size(tinytorch: Command, workdir: Path, run: str) -> None:
    result = tinytorch("train play.txt --init-from run --preset nano --out other")
    assert result.code == 2
    assert "--block-size must be at most the model's maximum length of 8 tokens, got 64" in result.err
    result = tinytorch("train play.txt --init-from run --preset nano --block-size 8 --steps 1 --out other")
    assert (result.code, result.err) == (0, "")
    found = config(workdir / "other")
    assert (found["training"]["preset"], found["training"]["batch_size"], found["training"]["d_model"]) == ("nano", 12, 16)
    assert (found["training"]["dropout"], found["model"]["dropout"]) == (0.1, 0.1)  # the model's own


def test_checkpoint_activations_gives_the_same_weights(train: Command, tinytorch: Command, workdir: Path) -> None:
    train("--steps 4 --decay-steps 9 --out kept")
    train("--steps 2 --decay-steps 9 --checkpoint-activations --out again")
    assert tinytorch("train --resume --out again --steps 4").code == 0
    ours, theirs = (load_arrays(workdir / name / "model.safetensors")[0] for name in ("again", "kept"))
    for name, array in ours.items():
        numpy.testing.assert_allclose(array, theirs[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("play.txt --init-from none", "none does not exist"),
        (
            "play.txt --init-from run --d-model 32 --num-layers 2",
            "--init-from determines the model's size; leave out --d-model, --num-layers",
        ),
        ("play.txt --init-from run --block-size 9", "--block-size must be at most the model's maximum length of 8 tokens, got 9"),
        ("play.txt --init-from run --tokenizer char", "--init-from has its own tokenizer; leave out --tokenizer"),
        ("play.txt --init-from run --dropout 1", "--dropout must be at least 0 and less than 1"),
        ("odd.txt --init-from run", "the text has characters that are not in the tokenizer's vocabulary: 'ö'; remove them"),
        (
            "odd.tokens --init-from run",
            "odd.tokens was tokenized with another tokenizer than run; prepare the text again with --tokenizer run",
        ),
        ("play.txt --resume --init-from run --out run", "a resumed run continues with its own model; leave out --init-from"),
        (
            "play.txt --preset finetune",
            "the preset finetune is for a pretrained model; pass a model as --init-from, or set",
        ),
    ],
)
def test_invalid_arguments_are_named_in_the_error(tinytorch: Command, workdir: Path, run: str, words: str, named: str) -> None:
    (workdir / "odd.txt").write_text("Tö be, " * 50, encoding="utf-8")
    assert tinytorch("prepare odd.txt --out odd.tokens").code == 0
    before = sorted(workdir.rglob("*"))
    result = tinytorch(f"train {words}")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert named in result.err
    assert sorted(workdir.rglob("*")) == before
