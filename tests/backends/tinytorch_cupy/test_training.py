"""Training on real cupy with the emulated CUDA matches numpy, in the situations in which memory, graphs and devices can be mixed up."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.emulated_cuda import hooks
from tinytorch import nn, optim
from tinytorch.models import MLP, LeNet5, TinyGPT
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, Trainer
from tinytorch.training.language_model import evaluation_batches, random_batches

TEXT = "the quick brown fox jumps over the lazy dog. " * 30


def train_lenet(classic: bool, steps: int = 3) -> list[float]:
    """The losses of a LeNet-5 on random images."""
    tt.seed(3)
    model = LeNet5(image=(1, 16, 16), classes=4, classic=classic)
    random = numpy.random.default_rng(0)
    batches = iter([(random.normal(size=(6, 1, 16, 16)).astype("float32"), random.integers(0, 4, 6)) for _ in range(steps)])
    trainer = Trainer(model, optim.AdamW(model.parameters(), lr=1e-2, max_norm=1.0), nn.CrossEntropyLoss())
    return [record.train_loss for record in trainer.fit(lambda: next(batches), steps)]


def gpt() -> LanguageModelTrainer:
    tt.seed(0)
    tokenizer = CharTokenizer().fit(TEXT)
    model = TinyGPT(tokenizer.get_vocab_size(), d_model=32, num_heads=2, num_layers=2, max_length=16, dropout=0.1)
    return LanguageModelTrainer(model, tokenizer, optim.AdamW(model.parameters(), lr=3e-3, max_norm=1.0))


def train_gpt(steps: int = 6) -> tuple[list[float], float]:
    """The losses of a GPT, and its evaluation on the text."""
    one = gpt()
    ids = one.tokenizer.encode_array(TEXT)
    losses = [record.train_loss for record in one.trainer.fit(random_batches(ids, 16, 4), steps)]
    return losses, one.trainer.evaluate(evaluation_batches(ids[:200], 16))["loss"]


def on_numpy(run: Callable[[], Any]) -> Any:
    with tt.use_backend("numpy"):
        return run()


def captured(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether no step ran without a graph."""
    return caplog.messages == []


def test_lenet5_and_then_the_classic_one_at_the_same_batch_size(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    for classic in (False, True):
        numpy.testing.assert_allclose(train_lenet(classic), on_numpy(lambda classic=classic: train_lenet(classic)), rtol=2e-5)
    assert captured(caplog)


def test_the_same_gpt_twice_in_a_process(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    losses, evaluation = train_gpt()
    gc.collect()
    assert train_gpt() == (losses, evaluation)
    expected_losses, expected_evaluation = on_numpy(train_gpt)
    numpy.testing.assert_allclose(losses, expected_losses, atol=2e-5)
    assert evaluation == pytest.approx(expected_evaluation, abs=2e-5)
    assert captured(caplog)


def test_forty_batch_sizes(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each size has its own graph, and each has its own column sums."""

    def losses() -> list[float]:
        tt.seed(1)
        model = MLP(5, [4], 3)
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss())
        random = numpy.random.default_rng(0)
        found = []
        for size in (*range(1, 41), *range(1, 41)):
            batch = random.normal(size=(size, 5)).astype("float32"), random.integers(0, 3, size)
            found += [record.train_loss for record in trainer.fit(lambda batch=batch: batch, 1)]
        return found

    numpy.testing.assert_allclose(losses(), on_numpy(losses), rtol=2e-5)
    assert captured(caplog)


def test_garbage_collected_at_every_opportunity(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Graphs and cuBLAS handles in reference cycles are destroyed while other steps are captured and run."""
    expected = on_numpy(train_gpt)[0]
    gc.collect()
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(2):
            one = gpt()
            one.cycle = one  # type: ignore[attr-defined]
            ids = one.tokenizer.encode_array(TEXT)
            losses = [record.train_loss for record in one.trainer.fit(random_batches(ids, 16, 4), 6)]
            numpy.testing.assert_allclose(losses, expected, atol=2e-5)
            del one
    finally:
        gc.set_threshold(*threshold)
    assert captured(caplog)


@contextmanager
def memory_limit(monkeypatch: pytest.MonkeyPatch, gpu: Any, kilobytes: int) -> Iterator[None]:
    """Limit the memory of the device."""
    gc.collect()
    gpu.cupy.get_default_memory_pool().free_all_blocks()
    with monkeypatch.context() as patch:
        patch.setenv("EMULATED_CUDA_MEMORY", str(hooks.used() + (kilobytes << 10)))
        yield


def test_training_within_a_memory_limit_matches_numpy(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_limit(monkeypatch, gpu, 256 << 10):
        losses = train_gpt(3)[0]
    numpy.testing.assert_allclose(losses, on_numpy(lambda: train_gpt(3))[0], atol=2e-5)


@pytest.mark.parametrize("kilobytes", [64, 1024, 4096])
def test_too_little_memory_is_an_error_or_trains_as_numpy(gpu: Any, monkeypatch: pytest.MonkeyPatch, kilobytes: int) -> None:
    """Whether memory ends in the model, the warm-up, the capture or its verification."""
    with memory_limit(monkeypatch, gpu, kilobytes), suppress(MemoryError):
        numpy.testing.assert_allclose(train_gpt(3)[0], on_numpy(lambda: train_gpt(3))[0], atol=2e-5)


def test_the_command_says_what_does_not_fit(gpu: Any, tmp_path: Path) -> None:
    """The step does not fit in 64 MiB, and the sentence names a number of microbatches that does."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 20, encoding="utf-8")
    command = [sys.executable, "-m", "tinytorch", "train", str(text), "--backend", "cupy", "--steps", "2", "--out", str(tmp_path / "run")]
    sizes = ["--d-model", "64", "--num-heads", "2", "--num-layers", "1", "--block-size", "64", "--batch-size", "128"]
    done = subprocess.run(
        [*command, *sizes], capture_output=True, text=True, env={**os.environ, "EMULATED_CUDA_MEMORY": str(64 << 20), "COLUMNS": "400"}
    )
    assert done.returncode == 2, done.stderr
    assert "does not fit in the 0.1 GiB of cupy:0" in done.stderr
    assert "--accumulate" in done.stderr


def test_the_command_trains_with_graphs_and_matches_numpy(gpu: Any, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    losses = {}
    for backend in ("cupy", "numpy"):
        out = tmp_path / backend
        sizes = ["--d-model", "16", "--num-heads", "2", "--num-layers", "1", "--block-size", "16", "--batch-size", "4", "--steps", "5"]
        command = [sys.executable, "-m", "tinytorch", "train", str(text), "--backend", backend, "--seed", "1", "--out", str(out), *sizes]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "without a CUDA graph" not in done.stderr
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses[backend] = [line["train_loss"] for line in lines]
    assert len(losses["numpy"]) == 5
    numpy.testing.assert_allclose(losses["cupy"], losses["numpy"], atol=1e-3)
