"""Frozen parameters, and parameters the optimizer does not hold, are not updated; the others are updated as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host, moments
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.optim import SGD, AdamW, Optimizer
from tinytorch.tensor import Tensor
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer, Trainer
from tinytorch.training.checkpoint import load_checkpoint, save_checkpoint

TEXT = "the quick brown fox jumps over the lazy dog. " * 12


def frozen_gpt(tokenizer: CharTokenizer) -> TinyGPT:
    random.seed(0)
    model = TinyGPT(tokenizer.get_vocab_size(), d_model=16, num_heads=2, num_layers=1, max_length=8, dropout=0.1, positional="learned")
    model.embedding.weight.requires_grad = False
    return model


def line_model() -> nn.Sequential:
    random.seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def line_batch(step: int) -> tuple[Any, Any]:
    x = numpy.random.default_rng(step).normal(size=(8, 2)).astype("float32")
    return x, (x @ numpy.array([[1.0], [-2.0]], "float32")).astype("float32")


def line_batches(first: int = 0) -> Callable[[], tuple[Any, Any]]:
    steps = iter(range(first, 100))
    return lambda: line_batch(next(steps))


def values(model: nn.Module) -> dict[str, Any]:
    return {name: host(parameter).copy() for name, parameter in model.named_parameters()}


def changed(model: nn.Module, before: dict[str, Any]) -> set[str]:
    return {name for name, value in values(model).items() if not numpy.array_equal(value, before[name])}


class TorchModel:
    """A copy of a `line_model` in PyTorch, trained with a manual loop."""

    def __init__(self, torch: Any, model: nn.Sequential, **settings: Any) -> None:
        self.torch = torch
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        self.model.load_state_dict({name: torch.tensor(value) for name, value in values(model).items()})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **settings)

    def train(self, first: int, last: int) -> None:
        for step in range(first, last):
            x, y = (self.torch.tensor(array) for array in line_batch(step))
            self.optimizer.zero_grad()
            self.torch.nn.functional.mse_loss(self.model(x), y).backward()
            self.optimizer.step()

    def assert_equals(self, model: nn.Module) -> None:
        for name, parameter in self.model.named_parameters():
            numpy.testing.assert_allclose(values(model)[name], parameter.detach().numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch, which this test compares with, is not installed")


# ---- frozen ----


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_does_not_change_a_frozen_embedding(backend: Backend, accumulate: int, precision: str) -> None:
    lacks = backend.lacks_precision(precision)
    if lacks is not None:
        pytest.skip(f"{backend.spec} cannot compute in {precision}: {lacks}")
    tokenizer = CharTokenizer().fit(TEXT)
    model = frozen_gpt(tokenizer)
    before = values(model)
    trainer = LanguageModelTrainer(model, tokenizer, accumulate=accumulate, precision=precision)
    trainer.fit(TEXT, seq_length=8, batch_size=4, progress=False)
    assert set(before) - changed(model, before) == {"embedding.weight"}
    assert model.embedding.weight not in trainer.optimizer.state  # no memory for its moments
    assert model.embedding.weight.grad is None


def test_a_frozen_embedding_does_not_change_in_trainer_or_manual_loop(backend: Backend) -> None:
    tokenizer = CharTokenizer().fit(TEXT)
    ids = tokenizer.encode_array(TEXT[:9])[None]
    for by_hand in (False, True):
        model = frozen_gpt(tokenizer)
        before = values(model)
        optimizer = AdamW(model.parameters(), lr=1e-2, max_norm=1.0)
        if by_hand:
            for _ in range(3):
                loss = nn.LanguageModelLoss()(model(ids[:, :-1]), ids)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        else:
            LanguageModelTrainer(model, tokenizer, optimizer).trainer.fit(lambda: (ids,), 3)
        assert set(before) - changed(model, before) == {"embedding.weight"}


def test_unfrozen_parameters_match_pytorch_in_trainer_and_manual_loop(backend: Backend, torch: Any) -> None:
    trained, by_hand = line_model(), line_model()
    peer = TorchModel(torch, trained, lr=0.02, weight_decay=0.1)
    peer.model[0].weight.requires_grad = False
    for model in (trained, by_hand):
        model[0].weight.requires_grad = False
    before = values(trained)
    peer.train(0, 20)
    Trainer(trained, AdamW(trained.parameters(), lr=0.02, weight_decay=0.1), nn.MSELoss()).fit(line_batches(), 20)
    optimizer = AdamW(by_hand.parameters(), lr=0.02, weight_decay=0.1)
    for step in range(20):
        x, y = line_batch(step)
        loss = nn.MSELoss()(by_hand(x), tt.asarray(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for model in (trained, by_hand):
        assert changed(model, before) == {"0.bias", "2.weight", "2.bias"}
        peer.assert_equals(model)


def test_a_temporarily_frozen_parameter_matches_pytorch(backend: Backend, torch: Any) -> None:
    """Adam counts the steps of each parameter for its bias correction, and keeps the moments of frozen parameters."""
    model = line_model()
    peer = TorchModel(torch, model, lr=0.02, weight_decay=0.1)
    trainer = Trainer(model, AdamW(model.parameters(), lr=0.02, weight_decay=0.1), nn.MSELoss())
    for first, last, frozen in ((0, 4, "0.weight"), (4, 10, "2.bias"), (10, 15, None)):
        for ours, theirs in ((model.named_parameters(), False), (peer.model.named_parameters(), True)):
            for name, parameter in ours:
                parameter.requires_grad = name != frozen
                if theirs:
                    parameter.grad = None
        peer.train(first, last)
        trainer.fit(line_batches(first), last)
        peer.assert_equals(model)
    assert [trainer.optimizer.state[p].steps for p in model.parameters()] == [11, 15, 15, 9]


def test_steps_skipped_in_float16_are_not_counted_twice(backend: Backend) -> None:
    """A parameter that is unfrozen later starts with Adam's first step, which has the size of the learning rate."""
    if backend.lacks_precision("float16") is not None:
        pytest.skip(f"{backend.spec} cannot compute in float16")
    random.seed(0)
    model = nn.Linear(1, 1)
    model.bias.requires_grad = False
    trainer = Trainer(model, AdamW(model.parameters(), lr=0.01, weight_decay=0.0), nn.MSELoss(), precision="float16")
    x, y = numpy.float32([[1.0]]), numpy.float32([[300.0]])
    trainer.fit(lambda: (x, y), 12)
    assert trainer.scaling[2] > 0  # the first gradients overflow
    model.bias.requires_grad = True
    before = host(model.bias).copy()
    trainer.fit(lambda: (x, y), 13)
    numpy.testing.assert_allclose(host(model.bias) - before, 0.01, rtol=1e-3)


def test_buffers_are_updated_if_parameters_are_frozen(backend: Backend) -> None:
    def running_mean(frozen: bool) -> Any:
        random.seed(0)
        model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
        model[0].weight.requires_grad = model[0].bias.requires_grad = not frozen
        Trainer(model, SGD(model.parameters(), lr=0.1), nn.MSELoss()).fit(line_batches(), 3)
        return host(model[0].running_mean)

    numpy.testing.assert_array_equal(running_mean(True), running_mean(False))


def test_an_optimizer_with_only_frozen_parameters_raises_an_error(backend: Backend) -> None:
    model = line_model()
    for parameter in model.parameters():
        parameter.requires_grad = False
    with pytest.raises(ValueError, match="all parameters of the optimizer have requires_grad = False"):
        Trainer(model, SGD(model.parameters()), nn.MSELoss()).fit(line_batches(), 1)


# ---- some of the parameters ----


@pytest.mark.parametrize("make", [lambda p: AdamW(p, lr=0.02), lambda p: SGD(p, lr=0.02, momentum=0.9)], ids=["adamw", "sgd"])
def test_parameters_missing_from_the_optimizer_are_treated_as_frozen(backend: Backend, make: Callable[[Any], Optimizer]) -> None:
    some, frozen = line_model(), line_model()
    before = values(some)
    frozen[0].weight.requires_grad = frozen[2].bias.requires_grad = False
    chosen = [some[2].weight, some[0].bias]  # in any order
    Trainer(some, make(chosen), nn.MSELoss()).fit(line_batches(), 10)
    Trainer(frozen, make(frozen.parameters()), nn.MSELoss()).fit(line_batches(), 10)
    assert changed(some, before) == {"0.bias", "2.weight"}
    for name, value in values(frozen).items():
        numpy.testing.assert_allclose(values(some)[name], value, rtol=1e-6)


class WithUnused(nn.Module):
    """A model with an unused layer."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(2, 1)
        self.unused = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weight_decay_does_not_apply_to_parameters_without_gradient(backend: Backend, accumulate: int) -> None:
    """As in PyTorch, and in a manual loop."""
    random.seed(0)
    model = WithUnused()
    before = values(model)
    trainer = Trainer(model, AdamW(model.parameters(), lr=0.1, weight_decay=0.5), nn.MSELoss(), accumulate=accumulate)
    trainer.fit(line_batches(), 20)
    assert changed(model, before) == {"used.weight", "used.bias"}
    assert set(trainer.optimizer.state) == {model.used.weight, model.used.bias}


def test_a_loss_independent_of_all_trained_parameters_raises_an_error(backend: Backend) -> None:
    random.seed(0)
    model = WithUnused()
    with pytest.raises(RuntimeError, match="the loss does not depend on any trained parameter"):
        Trainer(model, SGD(model.unused.parameters()), nn.MSELoss()).fit(line_batches(), 1)


# ---- on disk ----


def test_a_checkpoint_keeps_the_step_count_of_each_parameter(tmp_path: Path) -> None:
    def new_trainer() -> Trainer:
        model = line_model()
        return Trainer(model, AdamW([model[2].weight, model[0].bias, model[0].weight], lr=0.02), nn.MSELoss())

    uninterrupted, stopped, resumed = new_trainer(), new_trainer(), new_trainer()
    for trainer in (uninterrupted, stopped):
        trainer.model[0].weight.requires_grad = False
        trainer.fit(line_batches(), 4)
    save_checkpoint(tmp_path, stopped)
    load_checkpoint(tmp_path, resumed)
    assert resumed.model[0].weight not in resumed.optimizer.state
    for trainer in (uninterrupted, resumed):
        trainer.model[0].weight.requires_grad = True
        trainer.fit(line_batches(4), 9)
    assert_same(uninterrupted, resumed)
    save_checkpoint(tmp_path, resumed)
    again = new_trainer()
    load_checkpoint(tmp_path, again)
    assert_same(again, resumed)


def assert_same(one: Trainer, other: Trainer) -> None:
    assert [one.optimizer.state[p].steps for p in one.optimizer.parameters] == [9, 9, 5]
    assert [other.optimizer.state[p].steps for p in other.optimizer.parameters] == [9, 9, 5]
    pairs = zip(
        [*values(one.model).values(), *moments(one.optimizer)], [*values(other.model).values(), *moments(other.optimizer)], strict=True
    )
    for a, b in pairs:
        numpy.testing.assert_array_equal(a, b)
