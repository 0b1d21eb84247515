"""Training, evaluation and generation in 16 bits: weights stay float32, and float16 uses loss scaling."""

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
from tinytorch.generation import generate
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.nn import PRECISIONS
from tinytorch.ops import random
from tinytorch.optim import SGD, AdamW
from tinytorch.tensor import Tensor
from tinytorch.text import CharTokenizer
from tinytorch.training import DivergedError, LanguageModelTrainer, Trainer
from tinytorch.training.checkpoint import load_checkpoint, save_checkpoint
from tinytorch.training.evaluation import evaluate
from tinytorch.training.language_model import evaluation_batches, random_batches
from tinytorch.training.scaling import PATIENCE, update_scaling

TEXT = "the quick brown fox jumps over the lazy dog. " * 30
HALF_PRECISIONS = ("bfloat16", "float16")


def skip_if_unsupported(backend: Backend, precision: str) -> None:
    lacks = backend.lacks_precision(precision)
    if lacks is not None:
        pytest.skip(f"{backend.spec} cannot compute in {precision}: {lacks}")


def trainer(precision: str, rate: float = 3e-3) -> LanguageModelTrainer:
    random.seed(0)
    tokenizer = CharTokenizer().fit(TEXT)
    model = TinyGPT(tokenizer.get_vocab_size(), d_model=16, num_heads=2, num_layers=1, max_length=16, dropout=0.1, positional="learned")
    return LanguageModelTrainer(model, tokenizer, AdamW(model.parameters(), lr=rate, max_norm=1.0), precision=precision)


def losses(precision: str, steps: int = 20) -> list[float]:
    one = trainer(precision)
    tokens = one.tokenizer.encode_array(TEXT)
    return [record.train_loss for record in one.trainer.fit(random_batches(tokens, 16, 8), steps)]


@pytest.mark.parametrize("precision", HALF_PRECISIONS)
def test_the_loss_is_close_to_float32(backend: Backend, precision: str) -> None:
    skip_if_unsupported(backend, precision)
    full, half = losses("float32"), losses(precision)
    assert half != full
    assert numpy.abs(numpy.subtract(full, half)).max() < 0.02
    assert half[-1] < half[0] - 0.3


@pytest.mark.parametrize("precision", HALF_PRECISIONS)
def test_weights_and_moments_stay_float32_and_layers_compute_in_16_bits(
    backend: Backend, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_if_unsupported(backend, precision)
    seen = []
    forward = nn.LayerNorm.forward

    def watched(self: nn.LayerNorm, x: Tensor) -> Tensor:
        seen.append(x.dtype.name)
        return forward(self, x)

    monkeypatch.setattr(nn.LayerNorm, "forward", watched)
    one = trainer(precision)
    one.trainer.fit(random_batches(one.tokenizer.encode_array(TEXT), 16, 8), 2)
    one.trainer.evaluate(evaluation_batches(one.tokenizer.encode_array(TEXT), 16, 1))
    one.generate_text("the ", max_length=3, seed=0)
    assert set(seen) == {precision}
    assert {parameter.dtype.name for parameter in one.model.parameters()} == {"float32"}
    assert {array.dtype.name for array in moments(one.optimizer)} == {"float32"}


@pytest.mark.parametrize("precision", HALF_PRECISIONS)
def test_float_inputs_are_cast_to_16_bits(backend: Backend, precision: str) -> None:
    skip_if_unsupported(backend, precision)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    one = Trainer(model, SGD(model.parameters(), lr=0.1), nn.MSELoss(), precision=precision)
    x = numpy.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    records = one.fit(lambda: (x, x[:, :1] - x[:, 1:]), 30)
    assert records[-1].train_loss < 0.5 * records[0].train_loss
    assert one.evaluate([(x, x[:, :1] - x[:, 1:])])["loss"] < records[0].train_loss


def test_accumulation_does_not_change_a_step(backend: Backend) -> None:
    skip_if_unsupported(backend, "float16")

    def weights(accumulate: int) -> Any:
        random.seed(0)
        model = nn.Linear(3, 1)
        one = Trainer(model, SGD(model.parameters(), lr=0.1), nn.MSELoss(), accumulate=accumulate, precision="float16")
        one.scaling = [256.0, 0.0, 0.0]
        x = numpy.random.default_rng(0).normal(size=(8, 3)).astype("float32")
        one.fit(lambda: (x, x[:, :1]), 3)
        return host(model.weight)

    numpy.testing.assert_allclose(weights(1), weights(4), rtol=2e-3)


@pytest.mark.parametrize("precision", HALF_PRECISIONS)
def test_a_text_can_be_evaluated_in_16_bits(backend: Backend, precision: str) -> None:
    skip_if_unsupported(backend, precision)
    one = trainer(precision)
    full, half = (evaluate(one.model, one.tokenizer, TEXT[:200], precision=name) for name in ("float32", precision))
    assert half.loss != full.loss
    assert abs(half.loss - full.loss) < 0.02


# ---- the loss scale ----


class Exploding(nn.Module):
    """A model whose gradient can overflow while its loss is finite: the derivative is proportional to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter([[0.0]])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def exploding() -> tuple[Trainer, Callable[[float], Callable[[], Any]]]:
    model = Exploding()
    one = Trainer(model, AdamW(model.parameters(), lr=0.1), nn.MSELoss(), precision="float16")
    return one, lambda slope: lambda: (numpy.array([[slope]], "float32"), numpy.array([[0.25]], "float32"))


def test_an_overflow_skips_the_step_and_halves_the_scale(backend: Backend) -> None:
    skip_if_unsupported(backend, "float16")
    one, with_slope = exploding()
    (first,) = one.fit(with_slope(1000.0), 1)  # 0.5 * 1000 * 65536 overflows float16
    assert first.gradient_norm is None
    assert first.train_loss == 0.0625
    assert float(one.model.factor.detach()[0, 0]) == 0.0
    assert all(not m.any() for m in moments(one.optimizer))
    assert one.scaling == [32768.0, 0.0, 1.0]
    (second,) = one.fit(with_slope(0.5), 2)
    assert second.gradient_norm == pytest.approx(0.25)
    assert one.scaling == [32768.0, 1.0, 1.0]
    # the first step that is not skipped is Adam's first step, which has the size of the learning rate
    assert float(one.model.factor.detach()[0, 0]) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_an_optimizer_keeps_its_count_of_skipped_steps_in_a_new_trainer(backend: Backend, precision: str) -> None:
    skip_if_unsupported(backend, "float16")
    one, with_slope = exploding()
    one.fit(with_slope(1000.0), 1)
    other = Trainer(one.model, one.optimizer, nn.MSELoss(), precision=precision)
    other.fit(with_slope(0.5), 2)
    assert (one.optimizer.steps, one.optimizer.skipped) == (2, 1)
    assert [kept.steps for kept in one.optimizer.state.values()] == [1]
    assert float(one.model.factor.detach()[0, 0]) == pytest.approx(0.1, rel=1e-3)  # the first step of Adam


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_checkpoint_of_a_new_trainer_keeps_the_steps_of_its_optimizer(tmp_path: Path, precision: str) -> None:
    with tt.use_backend("numpy"):
        one, with_slope = exploding()
        one.fit(with_slope(1000.0), 1)
        one.fit(with_slope(0.5), 2)
        save_checkpoint(tmp_path, Trainer(one.model, one.optimizer, nn.MSELoss(), precision=precision))
        model = Exploding()
        restored = Trainer(model, AdamW(model.parameters(), lr=0.1), nn.MSELoss(), precision=precision)
        load_checkpoint(tmp_path, restored)
    assert [kept.steps for kept in restored.optimizer.state.values()] == [1]


def test_an_overflow_at_scale_1_raises_diverged_error(backend: Backend) -> None:
    skip_if_unsupported(backend, "float16")
    one, _ = exploding()
    one.scaling = [1.0, 0.0, 0.0]
    with pytest.raises(DivergedError, match="the gradient of step 1"):
        one.fit(lambda: (numpy.array([[60000.0]], "float32"), numpy.array([[4.0]], "float32")), 1)


def test_the_scale_doubles_after_enough_steps_without_overflow(backend: Backend) -> None:
    xp = backend.xp

    def updated(scale: float, steps: float, finite: bool) -> list[float]:
        scaling = backend.from_host(numpy.array([scale, steps, 2.0]), "float32")
        new, skip = update_scaling(xp, scaling, xp.asarray(finite))
        assert bool(backend.to_host(skip)) is (not finite and scale > 1)
        return [float(value) for value in backend.to_host(new)]

    assert updated(1024, PATIENCE - 2, True) == [1024, PATIENCE - 1, 2]
    assert updated(1024, PATIENCE - 1, True) == [2048, 0, 2]
    assert updated(1024, 5, False) == [512, 0, 3]
    assert updated(1, 5, False) == [1, 0, 2]


def test_a_checkpoint_restores_the_loss_scale(tmp_path: Path) -> None:
    def run(stop: int | None) -> dict[str, Any]:
        one = trainer("float16", rate=1e-2)
        one.trainer.scaling = [2.0**30, 0.0, 0.0]  # overflows at first
        next_batch = random_batches(one.tokenizer.encode_array(TEXT), 16, 8)
        if stop:
            one.trainer.fit(next_batch, stop)
            save_checkpoint(tmp_path, one.trainer)
            one = trainer("float16", rate=1e-2)
            next_batch = random_batches(one.tokenizer.encode_array(TEXT), 16, 8)
            load_checkpoint(tmp_path, one.trainer)
        one.trainer.fit(next_batch, 16)
        assert 0 < one.trainer.scaling[2] < 16
        return {name: host(tensor) for name, tensor in one.model.state_dict().items()}

    with tt.use_backend("numpy"):
        whole, halves = run(None), run(7)
        for name, value in whole.items():
            numpy.testing.assert_array_equal(value, halves[name], err_msg=name)
        with pytest.raises(InputError, match="another precision"):
            load_checkpoint(tmp_path, trainer("float32").trainer)


# ---- errors ----


def test_an_unsupported_precision_raises_an_error(backend: Backend) -> None:
    unsupported = [name for name in PRECISIONS if backend.lacks_precision(name) is not None]
    for name in unsupported:
        with pytest.raises(InputError, match=rf"cannot compute in {name}: it has no .*; choose `precision` float32"):
            trainer(name)
    assert "float32" not in unsupported


def test_an_unknown_precision_raises_an_error() -> None:
    with pytest.raises(InputError, match="float32, tf32, bfloat16 or float16, got 'float8'"):
        trainer("float8")


def test_generation_uses_weights_that_changed_after_a_cast(backend: Backend) -> None:
    """Cached casts of parameters are updated after the parameters change."""
    name = next((name for name in HALF_PRECISIONS if backend.lacks_precision(name) is None), "float32")
    random.seed(0)
    model = TinyGPT(5, d_model=8, num_heads=2, num_layers=1, max_length=8)
    before = generate(model, [1, 2], 4, temperature=0.0, precision=name)
    model.load_state_dict({key: -3 * host(value) for key, value in model.state_dict().items()})
    fresh = TinyGPT(5, d_model=8, num_heads=2, num_layers=1, max_length=8)
    fresh.load_state_dict(model.state_dict())
    after = generate(model, [1, 2], 4, temperature=0.0, precision=name)
    assert after == generate(fresh, [1, 2], 4, temperature=0.0, precision=name)
    assert before != after
