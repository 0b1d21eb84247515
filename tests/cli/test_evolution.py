"""``tinytorch evolution`` tells the whole story with one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.tiny import Command
from tinytorch.evolution import gpt
from tinytorch.text import python_reference
from tinytorch.training.run_directory import lock_directory

pytest.importorskip("sklearn", reason="the digits come with scikit-learn, which is not installed")

MODELS = ["Perceptron", "MLP", "LeNet-1", "LeNet-5", "TinyGPT"]
KEYS = {"model", "data", "parameters", "test_accuracy", "train_accuracy", "seconds", "floor"}


@pytest.fixture(autouse=True)
def little_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPT's chapter on the first few thousand characters, in a few steps."""
    text = python_reference()[:4000]
    monkeypatch.setattr(gpt, "python_reference", lambda: text)


@pytest.mark.parametrize("backend", ["numpy", "strict"])
def test_every_model_is_trained_measured_and_drawn(tinytorch: Command, place: Path, backend: str) -> None:
    if backend == "strict":
        pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    done = tinytorch(f"evolution --epochs 1 --out story --backend {backend}")
    assert done.code == 0, done.err
    rows = json.loads((place / "story" / "results.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in rows] == MODELS
    assert all(row.keys() >= KEYS for row in rows)
    assert all(0.0 < row["test_accuracy"] <= 1.0 for row in rows)
    assert rows[0]["parameters"] == 65 * 10
    assert all(name in done.out for name in MODELS)
    if "matplotlib" not in done.out:
        assert {"evolution.svg", "evolution.png"} <= {path.name for path in (place / "story").iterdir()}


def test_a_seed_gives_the_same_scores_again_and_another_one_others(tinytorch: Command, place: Path) -> None:
    for out in ("one", "two"):
        assert tinytorch(f"evolution --epochs 1 --seeds 2 --out {out}").code == 0
    one, two = [json.loads((place / out / "results.json").read_text(encoding="utf-8")) for out in ("one", "two")]
    assert [row["test_accuracy"] for row in one] == [row["test_accuracy"] for row in two]
    assert [row["seed"] for row in one] == [0] * 5 + [1] * 5
    assert [row["test_accuracy"] for row in one[:5]] != [row["test_accuracy"] for row in one[5:]]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--data cats", ["'cats'", "digits, mnist, fashion, cifar10"]),
        ("--data cifar10 --data-dir nowhere", ["nowhere"]),
        ("--data cifar10 --data-dir .", ["data_batch_1.bin", "--data-dir"]),
        ("--data digits --data-dir .", ["--data-dir"]),
        ("--epochs 0", ["--epochs"]),
        ("--seeds -1", ["--seeds"]),
        ("--out play.txt", ["play.txt", "--out"]),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(tinytorch: Command, place: Path, options: str, parts: list[str]) -> None:
    done = tinytorch(f"evolution {options}")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert [part for part in parts if part not in done.err] == []
    assert [path.name for path in place.iterdir()] == ["play.txt"]


def test_a_truncated_data_file_is_named(tinytorch: Command, place: Path) -> None:
    folder = place / "cifar"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)), encoding="utf-8")
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (folder / name).write_bytes(bytes(3073 * 2))
    (folder / "data_batch_1.bin").write_bytes(bytes(3073 + 5))
    done = tinytorch("evolution --data cifar10 --data-dir cifar")
    assert done.code == 2
    assert "data_batch_1.bin" in done.err


def test_results_that_are_there_are_kept(tinytorch: Command, place: Path) -> None:
    (place / "story").mkdir()
    (place / "story" / "results.json").write_text("mine", encoding="utf-8")
    assert tinytorch("evolution --epochs 1 --out story").code == 2
    assert (place / "story" / "results.json").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_another_process_writes_in_is_refused(tinytorch: Command, place: Path) -> None:
    with lock_directory(place / "story"):
        done = tinytorch("evolution --epochs 1 --out story")
    assert done.code == 2
    assert "story is in use by process" in done.err
    assert [path.name for path in place.iterdir()] == ["play.txt"]
