"""Sharded steps: microbatches, threads and ranks give the same results as one thread on the whole batch, including dropout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy
import pytest

import tinytorch as tt
import tinytorch_numpy.backend as numpy_backend
from tests.helpers import host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.backend.shard import Shard
from tinytorch.models import MLP, LeNet5, TinyGPT
from tinytorch.ops import random
from tinytorch.optim import SGD, AdamW
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, Trainer
from tinytorch.training.sharding import add_sums, is_batch_independent, shard_count
from tinytorch.vision import Augment
from tinytorch_numpy import threads


@pytest.fixture(autouse=True)
def shards_of_any_size(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(numpy_backend, "_MIN_WORK", 0)
    monkeypatch.setattr(numpy_backend, "_MIN_TERMS", 0)
    yield
    threads.use(1)


def gpt(dropout: float = 0.4) -> TinyGPT:
    tt.seed(3)
    return TinyGPT(11, d_model=16, num_heads=2, num_layers=2, max_length=8, dropout=dropout)


def windows(batch: int) -> Any:
    return numpy.random.default_rng(0).integers(0, 11, (batch, 9))


def train_gpt(count: int, batch: int = 3, accumulate: int = 1) -> tuple[list[float], dict[str, Any]]:
    """Losses and weights of training with dropout in ``count`` threads."""
    threads.use(count)
    with tt.use_backend("numpy"):
        model = gpt()
        optimizer = AdamW(model.parameters(), lr=1e-3, max_norm=1.0)
        trainer = LanguageModelTrainer(model, CharTokenizer(), optimizer, accumulate=accumulate)
        records = trainer.trainer.fit(lambda: (windows(batch),), 8)
        return [record.train_loss for record in records], {name: host(tensor) for name, tensor in model.state_dict().items()}


def image_losses(count: int, accumulate: int = 1, batch: int = 7) -> list[float]:
    threads.use(count)
    tt.seed(3)
    with tt.use_backend("numpy"):
        model = nn.Sequential(Augment([0.5] * 3, [0.2] * 3, shift=3), LeNet5((3, 12, 12), 4))
        trainer = Trainer(model, SGD(model.parameters(), lr=1e-2), nn.CrossEntropyLoss(), accumulate=accumulate)
        rng = numpy.random.default_rng(0)
        images, classes = rng.integers(0, 256, (batch, 3, 12, 12)).astype(numpy.uint8), rng.integers(0, 4, batch)
        return [record.train_loss for record in trainer.fit(lambda: (images, classes), 4)]


# ---- threads and microbatches ----


@pytest.mark.parametrize(("count", "accumulate"), [(2, 1), (3, 1), (1, 2), (2, 2), (2, 3)])
def test_a_gpt_with_dropout_trains_identically_with_microbatches_and_shards(count: int, accumulate: int) -> None:
    sharded, whole = train_gpt(count, 6, accumulate), train_gpt(1, 6)
    assert sharded[0] == pytest.approx(whole[0], abs=2e-5)  # different dropout masks would change the second decimal
    for name, value in whole[1].items():
        numpy.testing.assert_allclose(sharded[1][name], value, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("count", "accumulate"), [(2, 1), (1, 2), (2, 2), (2, 3)])
def test_augmentation_does_not_depend_on_microbatches_and_shards(count: int, accumulate: int) -> None:
    assert image_losses(count, accumulate, 6) == pytest.approx(image_losses(1, batch=6), abs=2e-5)


def test_shards_of_unequal_size_are_weighted_by_their_number_of_loss_terms() -> None:
    assert image_losses(2, batch=7) == pytest.approx(image_losses(1, batch=7), abs=2e-5)
    assert train_gpt(2)[0] == pytest.approx(train_gpt(1)[0], abs=2e-5)


def test_results_with_the_same_number_of_threads_are_bit_identical() -> None:
    assert train_gpt(2, batch=8)[0] == train_gpt(2, batch=8)[0]


# ---- ranks ----


def test_sums_over_ranks_give_the_loss_and_gradient_of_the_whole_batch(backend: Backend) -> None:
    """Ranks exchange three sums: first the count of loss terms, which all ranks divide by, then the loss and the gradient."""
    model, loss_fn, key = gpt(), nn.LanguageModelLoss(ignore_index=4), tt.asarray([7, 1], dtype=tt.int32)
    parameters = list(model.parameters())
    batch = [tt.asarray(windows(5))]

    def sums(ranks: int) -> list[Any]:
        shards = Shard.whole(5).split(ranks)
        count: Any = sum(loss_fn.count(*shard.take(batch)) for shard in shards)

        def loss(values: list[tt.Tensor], shard: Shard) -> tt.Tensor:
            (tokens,) = shard.take(batch)
            with random.step_draws(key, shard), nn.bind(parameters, values):
                return loss_fn.total(model(tokens[:, :-1]), tokens) / count

        contributions = [tt.value_and_grad(loss)([p.detach() for p in parameters], shard) for shard in shards]
        return [backend.to_host(term) for term in add_sums(backend, [[loss.raw, *(g.raw for g in grads)] for loss, grads in contributions])]

    for sharded, whole in zip(sums(3), sums(1), strict=True):
        numpy.testing.assert_allclose(sharded, whole, atol=1e-6)


# ---- which batches are sharded ----


class RecordingLinear(nn.Linear):
    """Records the number of examples of each call."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.examples: list[int] = []

    def forward(self, x: tt.Tensor) -> tt.Tensor:
        self.examples.append(x.shape[0])
        return super().forward(x)


def test_every_microbatch_has_one_shard_per_thread() -> None:
    threads.use(2)
    with tt.use_backend("numpy"):
        model = RecordingLinear()
        batch = numpy.ones((12, 2), "float32"), numpy.ones((12, 1), "float32")
        Trainer(model, SGD(model.parameters()), nn.MSELoss(), accumulate=3).fit(lambda: batch, 1)
    assert model.examples == [2] * 6


def test_models_that_are_not_batch_independent_are_not_sharded() -> None:
    assert is_batch_independent(MLP(192, (8,), 4))
    assert not is_batch_independent(MLP(192, (8,), 4, batch_norm=True))


def test_modules_are_not_batch_independent_by_default() -> None:
    class Centered(nn.Module):
        def forward(self, x: tt.Tensor) -> tt.Tensor:
            return x - tt.mean(x, axis=0)

    assert not is_batch_independent(nn.Sequential(nn.Flatten(), Centered(), nn.Linear(192, 4)))
    assert not is_batch_independent(nn.Sequential(nn.Flatten(0), nn.Linear(192, 4)))


def test_a_batch_has_at_most_one_shard_per_example() -> None:
    threads.use(2)
    for examples, shards in ((6, 2), (1, 1)):
        batch = (tt.zeros((examples, 4), device="numpy"), tt.zeros((examples, 512), device="numpy"))
        assert shard_count(batch[0].backend, Shard.whole(examples), batch, 1 << 20) == shards


# ---- sums ----


def test_sums_are_added_elementwise_and_none_is_zero(backend: Backend) -> None:
    one, two = (backend.from_host(numpy.array([value]), "float32") for value in (1.0, 2.0))
    total = add_sums(backend, [[one, None, None], [two, two, None], [two, None, None]])
    assert [None if term is None else backend.to_host(term).tolist() for term in total] == [[5.0], [2.0], None]
