"""Checkpoints restore the exact state, and a crash at any moment leaves files of the same step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host, moments
from tinytorch.io.errors import InputError
from tinytorch.io.files import load_arrays, save_arrays
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.optim import SGD, AdamW, Optimizer
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, Trainer
from tinytorch.training.checkpoint import MODEL, NEXT_MODEL, OPTIMIZER, load_checkpoint, save_checkpoint
from tinytorch.training.language_model import random_batches

TEXT = "to be or not to be, that is the question. " * 3


@pytest.fixture(autouse=True)
def _on_numpy() -> Iterator[None]:
    with tt.use_backend("numpy"):
        yield


def new_trainer(width: int = 16, make: Callable[..., Optimizer] = AdamW) -> Trainer:
    random.seed(5)
    tokenizer = CharTokenizer().fit(TEXT)
    model = TinyGPT(tokenizer.get_vocab_size(), d_model=width, num_heads=2, num_layers=1, max_length=8, dropout=0.1)
    return LanguageModelTrainer(model, tokenizer, make(model.parameters(), lr=1e-2, max_norm=1.0)).trainer


def advance(trainer: Trainer, step: int) -> list[float]:
    tokens = CharTokenizer().fit(TEXT).encode_array(TEXT)
    return [record.train_loss for record in trainer.fit(random_batches(tokens, 8, 4), step)]


def all_state(trainer: Trainer) -> list[Any]:
    weights = [host(tensor) for tensor in trainer.model.state_dict().values()]
    return weights + moments(trainer.optimizer) + [numpy.asarray(trainer.optimizer.steps)]


def assert_equal(left: LanguageModelTrainer, right: LanguageModelTrainer) -> None:
    for a, b in zip(all_state(left), all_state(right), strict=True):
        numpy.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stop", [1, 7, 16, 20])
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_run(tmp_path: Path, stop: int) -> None:
    uninterrupted = new_trainer()
    losses = advance(uninterrupted, 30)
    stopped = new_trainer()
    first = advance(stopped, stop)
    save_checkpoint(tmp_path, stopped)
    resumed = new_trainer()
    load_checkpoint(tmp_path, resumed)
    assert first + advance(resumed, 30) == losses
    assert_equal(uninterrupted, resumed)


def test_a_checkpoint_of_step_0_can_be_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, new_trainer())
    uninterrupted = advance(new_trainer(), 5)
    resumed = new_trainer()
    random.generator().random()  # must be overridden by the saved state of the generator
    load_checkpoint(tmp_path, resumed)
    assert advance(resumed, 5) == uninterrupted


def test_saving_leaves_two_files(tmp_path: Path) -> None:
    trainer = new_trainer()
    advance(trainer, 2)
    save_checkpoint(tmp_path, trainer)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODEL, OPTIMIZER]


class Crash(BaseException):
    """Simulates the end of a process; nothing catches it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, operation: int) -> list[str]:
    """Raise `Crash` before the file operation of that number. Returns a list that receives the operations done before."""
    done: list[str] = []

    def counted(name: str, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(done) == operation:
                raise Crash
            done.append(name)
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "replace", counted("replace", os.replace))
    monkeypatch.setattr(os, "fsync", counted("fsync", os.fsync))
    monkeypatch.setattr(Path, "write_bytes", counted("write_bytes", Path.write_bytes))
    return done


def test_a_crash_during_saving_leaves_files_of_the_same_step(tmp_path: Path) -> None:
    trainer = new_trainer()
    advance(trainer, 3)
    before = tmp_path / "before"
    before.mkdir()
    save_checkpoint(before, trainer)
    advance(trainer, 6)
    seen = set()
    for operation in range(30):
        directory = shutil.copytree(before, tmp_path / str(operation))
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, operation)
            try:
                save_checkpoint(directory, trainer)
                break
            except Crash:
                pass
        resumed = new_trainer()
        load_checkpoint(directory, resumed)
        seen.add(resumed.optimizer.steps)
        expected = new_trainer()
        advance(expected, resumed.optimizer.steps)
        assert_equal(expected, resumed)
        # training and saving still work
        advance(resumed, 8)
        save_checkpoint(directory, resumed)
        assert not (directory / NEXT_MODEL).exists()
        again = new_trainer()
        load_checkpoint(directory, again)
        assert_equal(again, resumed)
    else:
        pytest.fail("save_checkpoint never completed")
    assert operation >= 7, "the crashes did not cover both writes and the last rename"
    assert seen == {3, 6}


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "text":
            path.write_text("not a checkpoint", encoding="utf-8")


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "text"])
def test_a_damaged_file_raises_an_error_with_its_name(tmp_path: Path, name: str, how: str) -> None:
    trainer = new_trainer()
    advance(trainer, 2)
    save_checkpoint(tmp_path, trainer)
    damage(tmp_path / name, how)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=name):
        load_checkpoint(tmp_path, new_trainer())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left


def test_pending_weights_are_kept_if_the_training_state_is_damaged(tmp_path: Path) -> None:
    trainer = new_trainer()
    advance(trainer, 2)
    save_checkpoint(tmp_path, trainer)
    shutil.copy(tmp_path / MODEL, tmp_path / NEXT_MODEL)
    damage(tmp_path / OPTIMIZER, "truncated")
    with pytest.raises(InputError, match=OPTIMIZER):
        load_checkpoint(tmp_path, new_trainer())
    assert (tmp_path / NEXT_MODEL).is_file()


def test_files_of_other_runs_raise_an_error(tmp_path: Path) -> None:
    ours, wider, plain = new_trainer(), new_trainer(width=32), new_trainer(make=lambda p, **s: SGD(p, momentum=0.9, **s))
    directories = {}
    for name, trainer, steps in (("ours", ours, 3), ("wider", wider, 3), ("plain", plain, 3)):
        advance(trainer, steps)
        directories[name] = tmp_path / name
        directories[name].mkdir()
        save_checkpoint(directories[name], trainer)
    for name, file in (("wider", MODEL), ("wider", OPTIMIZER), ("plain", OPTIMIZER)):
        mixed = shutil.copytree(directories["ours"], tmp_path / f"{name}-{file}")
        shutil.copy(directories[name] / file, mixed / file)
        with pytest.raises(InputError, match=file) as caught:
            load_checkpoint(mixed, new_trainer())
        assert "restore it from a copy" in str(caught.value)


def test_files_of_different_steps_raise_an_error(tmp_path: Path) -> None:
    trainer = new_trainer()
    advance(trainer, 3)
    save_checkpoint(tmp_path, trainer)
    old = (tmp_path / OPTIMIZER).read_bytes()
    advance(trainer, 5)
    save_checkpoint(tmp_path, trainer)
    (tmp_path / OPTIMIZER).write_bytes(old)
    with pytest.raises(InputError, match="is of step 3 and model.safetensors of step 5".replace(".", r"\.")):
        load_checkpoint(tmp_path, new_trainer())


@pytest.mark.parametrize("metadata", [{}, {"step": "x"}, {"step": "2"}, {"step": "2", "generator": "{}"}, {"step": "2", "generator": "?"}])
def test_files_without_checkpoint_metadata_raise_an_error(tmp_path: Path, metadata: dict[str, str]) -> None:
    trainer = new_trainer()
    advance(trainer, 2)
    save_checkpoint(tmp_path, trainer)
    name = MODEL if "generator" not in metadata and metadata.get("step") != "2" else OPTIMIZER
    save_arrays(tmp_path / name, load_arrays(tmp_path / name)[0], metadata)
    with pytest.raises(InputError, match=name):
        load_checkpoint(tmp_path, new_trainer())
