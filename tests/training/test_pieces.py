"""Batches that a backend's threads share: what is learned is what one thread learns, random bits included."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import pytest

import tinytorch as tt
import tinytorch_numpy.backend as numpy_backend
from tinytorch import nn
from tinytorch.models import MLP, LeNet5, TinyGPT
from tinytorch.optim import SGD, AdamW
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, Trainer
from tinytorch.training.pieces import cut, is_batch_independent, piece_count
from tinytorch.vision import Augment
from tinytorch_numpy import threads


@pytest.fixture(autouse=True)
def pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(numpy_backend, "_TOO_LITTLE", 0)
    monkeypatch.setattr(numpy_backend, "_ENOUGH_TERMS", 0)
    yield
    threads.use(1)


def gpt_losses(count: int, batch: int = 3) -> list[float]:
    threads.use(count)
    tt.seed(3)
    with tt.use_backend("numpy"):
        model = TinyGPT(11, d_model=16, num_heads=2, num_layers=2, max_length=8, dropout=0.4)
        trainer = LanguageModelTrainer(model, CharTokenizer(), AdamW(model.parameters(), lr=1e-2, max_norm=1.0))
        windows = numpy.random.default_rng(0).integers(0, 11, (batch, 9))
        return [record.train_loss for record in trainer.trainer.fit(lambda: (windows,), 8)]


def image_losses(count: int) -> list[float]:
    threads.use(count)
    tt.seed(3)
    with tt.use_backend("numpy"):
        model = nn.Sequential(Augment([0.5] * 3, [0.2] * 3, shift=3), LeNet5((3, 12, 12), 4))
        trainer = Trainer(model, SGD(model.parameters(), lr=1e-2), nn.CrossEntropyLoss())
        random = numpy.random.default_rng(0)
        batch = random.integers(0, 256, (7, 3, 12, 12)).astype(numpy.uint8), random.integers(0, 4, 7)
        return [record.train_loss for record in trainer.fit(lambda: batch, 4)]


@pytest.mark.parametrize("count", [2, 3])
def test_a_gpt_with_dropout_learns_the_same_from_a_batch_in_pieces(count: int) -> None:
    # other bits of dropout would show in the second decimal
    assert gpt_losses(count) == pytest.approx(gpt_losses(1), abs=2e-5)


def test_images_are_moved_as_they_would_be_in_one_piece() -> None:
    assert image_losses(2) == pytest.approx(image_losses(1), abs=2e-5)


def test_the_same_number_of_threads_gives_the_same_bits() -> None:
    assert gpt_losses(2, batch=8) == gpt_losses(2, batch=8)


def test_pieces_hold_every_entry_once_and_know_their_places() -> None:
    batch = (tt.asarray(numpy.arange(10).reshape(5, 2), device="numpy"), tt.asarray(numpy.arange(5), device="numpy"))
    found = cut(batch, 2)
    assert [tensors[1].tolist() for tensors, _ in found] == [[0, 1], [2, 3, 4]]
    assert [(share.before, share.count, share.whole) for _, share in found if share] == [(0, 2, 5), (2, 3, 5)]


def test_models_whose_entries_depend_on_each_other_stay_whole() -> None:
    assert is_batch_independent(MLP(192, (8,), 4))
    assert not is_batch_independent(MLP(192, (8,), 4, batch_norm=True))


def test_a_module_that_says_nothing_stays_whole() -> None:
    class Centred(nn.Module):
        def forward(self, x: tt.Tensor) -> tt.Tensor:
            return x - tt.mean(x, axis=0)

    assert not is_batch_independent(nn.Sequential(nn.Flatten(), Centred(), nn.Linear(192, 4)))
    assert not is_batch_independent(nn.Sequential(nn.Flatten(0), nn.Linear(192, 4)))


def test_a_batch_is_cut_for_the_threads_but_not_finer_than_its_entries() -> None:
    threads.use(2)
    for entries, pieces in ((6, 2), (1, 1)):
        batch = (tt.zeros((entries, 4), device="numpy"), tt.zeros((entries, 512), device="numpy"))
        assert piece_count(batch[0].backend, batch, 1 << 20) == pieces
