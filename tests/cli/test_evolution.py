"""``tinytorch evolution`` trains, evaluates and draws all models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.tiny import Command
from tinytorch.evolution import gpt
from tinytorch.text import python_reference
from tinytorch.training.run_directory import lock_directory

pytest.importorskip("sklearn", reason="scikit-learn, which provides the digits, is not installed")

MODELS = ["Perceptron", "MLP", "LeNet-1", "LeNet-5", "TinyGPT"]
KEYS = {"model", "data", "parameters", "test_accuracy", "train_accuracy", "seconds", "floor"}


@pytest.fixture(autouse=True)
def short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the GPT on a short text, for a few steps."""
    text = python_reference()[:4000]
    monkeypatch.setattr(gpt, "python_reference", lambda: text)


@pytest.mark.parametrize("backend", ["numpy", "strict"])
def test_every_model_is_trained_evaluated_and_drawn(tinytorch: Command, workdir: Path, backend: str) -> None:
    if backend == "strict":
        pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    done = tinytorch(f"evolution --epochs 1 --out results --backend {backend}")
    assert done.code == 0, done.err
    rows = json.loads((workdir / "results" / "results.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in rows] == MODELS
    assert all(row.keys() >= KEYS for row in rows)
    assert all(0.0 < row["test_accuracy"] <= 1.0 for row in rows)
    assert rows[0]["parameters"] == 65 * 10
    assert all(name in done.out for name in MODELS)
    if "matplotlib" not in done.out:
        assert {"evolution.svg", "evolution.png"} <= {path.name for path in (workdir / "results").iterdir()}


def test_results_depend_on_the_seed(tinytorch: Command, workdir: Path) -> None:
    for out in ("one", "two"):
        assert tinytorch(f"evolution --epochs 1 --seeds 2 --out {out}").code == 0
    one, two = [json.loads((workdir / out / "results.json").read_text(encoding="utf-8")) for out in ("one", "two")]
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
def test_invalid_input_prints_one_line_and_writes_nothing(tinytorch: Command, workdir: Path, options: str, parts: list[str]) -> None:
    done = tinytorch(f"evolution {options}")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert [part for part in parts if part not in done.err] == []
    assert [path.name for path in workdir.iterdir()] == ["play.txt"]


def test_a_truncated_data_file_is_named_in_the_error(tinytorch: Command, workdir: Path) -> None:
    folder = workdir / "cifar"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)), encoding="utf-8")
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (folder / name).write_bytes(bytes(3073 * 2))
    (folder / "data_batch_1.bin").write_bytes(bytes(3073 + 5))
    done = tinytorch("evolution --data cifar10 --data-dir cifar")
    assert done.code == 2
    assert "data_batch_1.bin" in done.err


def test_existing_results_are_not_overwritten(tinytorch: Command, workdir: Path) -> None:
    (workdir / "results").mkdir()
    (workdir / "results" / "results.json").write_text("mine", encoding="utf-8")
    assert tinytorch("evolution --epochs 1 --out results").code == 2
    assert (workdir / "results" / "results.json").read_text(encoding="utf-8") == "mine"


def test_a_locked_directory_is_an_error(tinytorch: Command, workdir: Path) -> None:
    with lock_directory(workdir / "results"):
        done = tinytorch("evolution --epochs 1 --out results")
    assert done.code == 2
    assert "results is in use by process" in done.err
    assert [path.name for path in workdir.iterdir()] == ["play.txt"]
