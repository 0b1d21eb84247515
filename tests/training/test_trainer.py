"""The training loop: convergence, records, evaluation and errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host, moments
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.optim import SGD, Adam, AdamW, WarmupCosine
from tinytorch.tensor import Tensor
from tinytorch.text import CharTokenizer, split_text
from tinytorch.training import DivergedError, LanguageModelAccuracy, LanguageModelTrainer, StepRecord, Trainer
from tinytorch.training.language_model import evaluation_batches, random_batches
from tinytorch.training.state import METRICS_ROWS

SENTENCE = "the quick brown fox jumps over the lazy dog"


def line_trainer(rate: float = 0.1, accumulate: int = 1) -> Trainer:
    """A trainer for a two-layer model that fits a linear function."""
    random.seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    return Trainer(model, SGD(model.parameters(), lr=rate, momentum=0.9), nn.MSELoss(), accumulate=accumulate)


def line_batches(size: int = 8, seed: int = 0) -> Callable[[], Sequence[Any]]:
    draws = numpy.random.default_rng(seed)

    def next_batch() -> Sequence[Any]:
        x = draws.normal(size=(size, 2)).astype("float32")
        return x, (x @ numpy.array([[1.0], [-2.0]], "float32")).astype("float32")

    return next_batch


def small_gpt(vocab_size: int, dropout: float = 0.0, length: int = 16, layers: int = 2) -> TinyGPT:
    return TinyGPT(vocab_size, d_model=32, num_heads=2, num_layers=layers, max_length=length, dropout=dropout, positional="learned")


def weights(model: nn.Module) -> dict[str, Any]:
    return {name: host(tensor).copy() for name, tensor in model.state_dict().items()}


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        numpy.testing.assert_array_equal(left[name], right[name], err_msg=name)


# ---- convergence ----


def test_a_two_layer_model_memorizes_a_sentence() -> None:
    random.seed(0)
    tokenizer = CharTokenizer().fit(SENTENCE)
    model = small_gpt(tokenizer.get_vocab_size(), length=len(SENTENCE))
    trainer = LanguageModelTrainer(model, tokenizer, AdamW(model.parameters(), lr=1e-2, max_norm=1.0))
    window = tokenizer.encode_array(SENTENCE)[None]
    records = trainer.trainer.fit(lambda: (window,), 120)
    assert records[-1].train_loss < 0.05
    assert trainer.generate_text("t", len(SENTENCE) - 1, temperature=0) == SENTENCE


def test_a_model_learns_the_copy_task() -> None:
    """Sequences of symbols, a separator, and the same symbols again; accuracy on the second half must reach 99 percent."""
    length, symbols, separator = 5, 8, 0
    random.seed(0)
    draws = numpy.random.default_rng(0)

    def rows(count: int) -> Any:
        x = draws.integers(1, symbols, (count, length))
        return numpy.concatenate([x, numpy.full((count, 1), separator), x], axis=1)

    model = small_gpt(symbols, length=2 * length)
    optimizer = AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.98), max_norm=1.0)
    trainer = LanguageModelTrainer(model, CharTokenizer().fit("unused"), optimizer)
    trainer.trainer.fit(lambda: (rows(64),), 200)
    unseen = rows(512)
    guesses = host(model.eval()(unseen[:, :-1])).argmax(-1)
    assert (guesses[:, length:] == unseen[:, length + 1 :]).mean() >= 0.99


def test_fit_returns_the_history() -> None:
    random.seed(0)
    text = f"{SENTENCE}. " * 20
    tokenizer = CharTokenizer().fit(text)
    trainer = LanguageModelTrainer(small_gpt(tokenizer.get_vocab_size(), layers=1), tokenizer)
    epoch = int(len(text) * 0.9) // (4 * 8)
    for repeat in (1, 2):
        history = trainer.fit(text, epochs=2, seq_length=8, batch_size=4, progress=False)
        begin = (repeat - 1) * 2 * epoch
        assert history["step"] == list(range(begin + 1, begin + 2 * epoch + 1))
        assert history["val_step"] == [begin + epoch, begin + 2 * epoch]
        assert {len(history[name]) for name in ("train_loss", "learning_rate")} == {2 * epoch}
        assert {len(history[name]) for name in ("val_loss", "val_accuracy")} == {2}
        assert history["train_loss"][-1] < history["train_loss"][0]
    assert trainer.fit(text, seq_length=8, batch_size=4, val_split=0.0, progress=False)["val_loss"] == []


def test_invalid_arguments_of_fit_raise_an_error_before_training() -> None:
    tokenizer = CharTokenizer().fit(SENTENCE)
    trainer = LanguageModelTrainer(small_gpt(tokenizer.get_vocab_size(), layers=1), tokenizer)
    for settings in ({}, {"seq_length": 30}, {"seq_length": 0}, {"epochs": 0}, {"batch_size": 0}):  # the validation split has 5 tokens
        with pytest.raises(InputError):
            trainer.fit(SENTENCE, progress=False, **settings)
    assert trainer.optimizer.steps == 0


# ---- steps ----


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_gives_the_same_result_as_the_whole_batch(backend: Backend, accumulate: int) -> None:
    whole, split = line_trainer(), line_trainer(accumulate=accumulate)
    losses = [trainer.fit(line_batches(), 5) for trainer in (whole, split)]
    for one, other in zip(*losses, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
    for name, value in weights(whole.model).items():
        numpy.testing.assert_allclose(weights(split.model)[name], value, rtol=0, atol=1e-6)


def test_accumulation_divides_by_the_loss_terms_of_the_whole_batch() -> None:
    """Microbatches may have different numbers of loss terms: here 1 and 2."""
    x = numpy.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    y = numpy.array([0, -100, 1, 2])
    results = []
    for accumulate in (1, 2):
        random.seed(0)
        model = nn.Sequential(nn.Linear(3, 3))
        trainer = Trainer(model, SGD(model.parameters(), lr=1.0), nn.CrossEntropyLoss(), accumulate=accumulate)
        results.append((trainer.fit(lambda: (x, y), 1)[0].train_loss, weights(model)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for name, value in results[0][1].items():
        numpy.testing.assert_allclose(results[1][1][name], value, atol=1e-6)


def test_accumulate_must_divide_the_batch_size() -> None:
    with pytest.raises(ValueError, match="3 does not divide 8"):
        line_trainer(accumulate=3).fit(line_batches(), 1)
    with pytest.raises(ValueError, match="1 or more"):
        line_trainer(accumulate=0)


def test_a_step_copies_nothing_to_the_host(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = False
    compile_step, to_host = backend.compile, backend.to_host

    def guarded(name: str, original: Any) -> Any:
        def call(*args: Any) -> Any:
            assert not inside, f"a step calls {name}"
            return original(*args)

        return call

    def compile_guarded(step: Any, donate: bool = False) -> Any:
        compiled = compile_step(step, donate)

        def run(*args: Any) -> Any:
            nonlocal inside
            inside = True
            try:
                return compiled(*args)
            finally:
                inside = False

        return run

    monkeypatch.setattr(backend, "compile", compile_guarded)
    monkeypatch.setattr(backend, "to_host", guarded("to_host", to_host))
    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(Tensor, name, guarded(name, getattr(Tensor, name)))
    random.seed(0)
    tokenizer = CharTokenizer().fit(SENTENCE)
    model = small_gpt(tokenizer.get_vocab_size(), dropout=0.1, length=8)
    optimizer = AdamW(model.parameters(), schedule=WarmupCosine(2, 4), max_norm=1.0)
    trainer = LanguageModelTrainer(model, tokenizer, optimizer, accumulate=2)
    assert len(trainer.trainer.fit(random_batches(tokenizer.encode_array(SENTENCE), 8, 4), 3)) == 3


@pytest.mark.parametrize("steps", [1, METRICS_ROWS - 1, METRICS_ROWS, 2 * METRICS_ROWS + 3])
def test_every_step_is_recorded_in_order(backend: Backend, steps: int) -> None:
    trainer = line_trainer()
    received: list[StepRecord] = []
    records = trainer.fit(line_batches(), steps, on_records=received.extend)
    assert [record.step for record in records] == list(range(1, steps + 1))
    assert received == records
    assert all(record.seconds > 0 and record.gradient_norm > 0 for record in records)


def test_records_have_the_loss_before_the_update_and_the_scheduled_learning_rate() -> None:
    trainer = line_trainer()
    trainer.optimizer.schedule = WarmupCosine(4, 10)
    x, y = line_batches()()
    expected = float(nn.MSELoss()(trainer.model(x), tt.asarray(y)).detach())
    records = trainer.fit(lambda: (x, y), 2)
    assert records[0].train_loss == pytest.approx(expected, rel=1e-6)
    assert [record.learning_rate for record in records] == pytest.approx([0.025, 0.05])


def test_evaluation_does_not_change_training() -> None:
    plain, evaluated = line_trainer(), line_trainer()
    plain.fit(line_batches(), 40)
    seen: list[tuple[int, int]] = []

    def on_eval(step: int) -> None:
        seen.append((step, evaluated.optimizer.steps))
        evaluated.evaluate([line_batches(seed=1)()])

    evaluated.fit(line_batches(), 40, on_eval=on_eval, eval_steps=range(7, 40, 7))
    assert seen == [(step, step) for step in (7, 14, 21, 28, 35)]
    assert_same(weights(plain.model), weights(evaluated.model))


def test_a_second_call_of_fit_continues_training(backend: Backend) -> None:
    uninterrupted, twice = line_trainer(), line_trainer()
    uninterrupted.fit(line_batches(), 25)
    batches = line_batches()
    first = twice.fit(batches, 9)
    second = twice.fit(batches, 25)
    assert [record.step for record in first + second] == list(range(1, 26))
    assert twice.fit(batches, 25) == []
    assert_same(weights(uninterrupted.model), weights(twice.model))


def test_training_does_not_change_arrays_held_by_the_user(backend: Backend) -> None:
    trainer = line_trainer()
    trainer.fit(line_batches(), 3)
    held = [tensor.detach() for tensor in trainer.model.parameters()]
    state = moments(trainer.optimizer)
    before = [host(tensor).copy() for tensor in held], [array.copy() for array in state]
    trainer.fit(line_batches(), 6)
    for tensor, old in zip(held, before[0], strict=True):
        numpy.testing.assert_array_equal(host(tensor), old)
    for array, old in zip(state, before[1], strict=True):
        numpy.testing.assert_array_equal(array, old)


def test_stopping_ends_fit_after_the_current_step() -> None:
    trainer, plain = line_trainer(), line_trainer()
    batches, calls = line_batches(), 0

    def stop_at_five() -> Sequence[Any]:
        nonlocal calls
        calls += 1
        trainer.stopping = calls == 5
        return batches()

    assert [record.step for record in trainer.fit(stop_at_five, 40)] == [1, 2, 3, 4, 5]
    plain.fit(line_batches(), 5)
    assert_same(weights(plain.model), weights(trainer.model))
    assert [record.step for record in trainer.fit(batches, 7)] == [6, 7]  # stopping applied only to the previous call


def test_stopping_before_fit_ends_it_after_the_first_step() -> None:
    trainer = line_trainer()
    trainer.stopping = True
    assert len(trainer.fit(line_batches(), 40)) == 1


def test_dropout_has_the_same_losses_on_numpy_and_strict() -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    text = f"{SENTENCE}. " * 5
    losses = []
    for name in ("numpy", "strict"):
        with tt.use_backend(name):
            random.seed(3)
            tokenizer = CharTokenizer().fit(text)
            model = small_gpt(tokenizer.get_vocab_size(), dropout=0.2)
            trainer = LanguageModelTrainer(model, tokenizer, AdamW(model.parameters(), lr=3e-3, max_norm=1.0))
            records = trainer.trainer.fit(random_batches(tokenizer.encode_array(text), 16, 4), 20)
            losses.append([record.train_loss for record in records])
    numpy.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_dropout_depends_on_the_seed() -> None:
    def first_loss(seed: int) -> float:
        random.seed(0)
        model = nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1))
        random.seed(seed)
        return Trainer(model, SGD(model.parameters()), nn.MSELoss()).fit(line_batches(), 1)[0].train_loss

    assert first_loss(1) == first_loss(1) != first_loss(2)


class RunningMean(nn.Module):
    """Returns its input, and keeps a running mean of it."""

    mean: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", tt.zeros((2,)))
        self.register_buffer("seen", tt.zeros((), dtype="bool"))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * tt.mean(x, axis=0)
            self.seen = tt.ones_like(self.seen)
        return x


@pytest.mark.parametrize("accumulate", [1, 2])
def test_buffers_are_updated_by_steps(backend: Backend, accumulate: int) -> None:
    random.seed(0)
    model = nn.Sequential(RunningMean(), nn.Linear(2, 1))
    trainer = Trainer(model, Adam(model.parameters()), nn.MSELoss(), accumulate=accumulate)
    batches = [line_batches()() for _ in range(3)]
    expected = numpy.zeros(2)
    for x, _ in batches:
        for microbatch in numpy.split(x, accumulate):
            expected = 0.5 * expected + 0.5 * microbatch.mean(axis=0)
    queue = iter(batches)
    trainer.fit(lambda: next(queue), 3)
    state = weights(model)
    numpy.testing.assert_allclose(state["0.mean"], expected, rtol=1e-5)
    assert bool(state["0.seen"])
    trainer.evaluate([batches[0]])
    numpy.testing.assert_array_equal(weights(model)["0.mean"], state["0.mean"])


# ---- errors ----


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_raises_an_error_with_the_step_and_keeps_the_model(backend: Backend, bad: float) -> None:
    trainer = line_trainer()
    batches, calls = line_batches(), 0

    def spoiled_at_21() -> Sequence[Any]:
        nonlocal calls
        calls += 1
        x, y = batches()
        return x, y * numpy.float32(bad if calls == 21 else 1.0)

    received: list[StepRecord] = []
    with pytest.raises(DivergedError, match=r"the loss of step 21 is not finite; use a learning rate smaller than 0\.1"):
        trainer.fit(spoiled_at_21, 40, on_records=received.extend)
    assert [record.step for record in received] == list(range(1, 21))
    # the last read from the device was after step 16
    healthy = line_trainer()
    healthy.fit(line_batches(), METRICS_ROWS)
    assert_same(weights(trainer.model), weights(healthy.model))
    assert trainer.optimizer.steps == METRICS_ROWS
    for ours, theirs in zip(moments(trainer.optimizer), moments(healthy.optimizer), strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


def test_a_huge_learning_rate_diverges_without_warnings(backend: Backend) -> None:
    for rate in (1e30, 1e300):
        trainer = line_trainer(rate)
        before = weights(trainer.model)
        with pytest.raises(DivergedError, match="use a learning rate smaller than 1e"):
            trainer.fit(line_batches(), 40)
        assert_same(weights(trainer.model), before)


def test_parameters_that_are_not_finite_raise_an_error(backend: Backend) -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    trainer = Trainer(model, SGD(model.parameters(), lr=3e38), nn.MSELoss())
    x = numpy.full((4, 2), 10.0, "float32")
    with pytest.raises(DivergedError, match=r"after step 1 an element of 0\.(weight|bias) is not finite"):
        trainer.fit(lambda: (x, numpy.full((4, 1), -50.0, "float32")), 1)
    assert all(numpy.isfinite(value).all() for value in weights(model).values())


def test_the_mode_is_restored_after_an_error() -> None:
    trainer = line_trainer()
    trainer.model.eval()

    def fails() -> Sequence[Any]:
        raise OSError("the loader failed")

    with pytest.raises(OSError, match="the loader failed"):
        trainer.fit(fails, 3)
    assert not trainer.model.training
    trainer.fit(line_batches(), 2)
    assert not trainer.model.training


def test_parameters_of_another_model_raise_an_error() -> None:
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    given = [*model.parameters(), *other.parameters()]
    with pytest.raises(ValueError, match=r"2 parameters that do not belong to the model; pass it parameters from model\.parameters\(\)"):
        Trainer(model, SGD(given), nn.MSELoss()).fit(line_batches(), 1)


# ---- evaluation ----


def test_evaluate_returns_the_mean_over_all_tokens(backend: Backend) -> None:
    random.seed(0)
    text = f"{SENTENCE}. " * 7  # the validation split is not a multiple of the window length
    tokenizer = CharTokenizer().fit(text)
    model = small_gpt(tokenizer.get_vocab_size(), dropout=0.5)
    trainer = LanguageModelTrainer(model, tokenizer)
    _, held_out = split_text(tokenizer.encode_array(text), 0.5)
    measured = trainer.trainer.evaluate(evaluation_batches(held_out, 16))

    model.eval()
    losses, right = [], []
    for start in range(0, len(held_out) - 1, 16):
        window = held_out[start : start + 17]
        logits = host(model(window[None, :-1]))[0].astype("float64")  # (T, V)
        rows = numpy.arange(len(window) - 1)
        losses += list(numpy.log(numpy.exp(logits).sum(axis=1)) - logits[rows, window[1:]])
        right += list(logits.argmax(axis=1) == window[1:])
    assert len(losses) == len(held_out) - 1
    assert len(losses) % 16 != 0
    assert measured["loss"] == pytest.approx(numpy.mean(losses), rel=1e-5)
    assert measured["accuracy"] == pytest.approx(numpy.mean(right), rel=1e-6)


def test_max_windows_are_evenly_spaced() -> None:
    tokens = numpy.arange(401)
    windows = numpy.concatenate([batch for (batch,) in evaluation_batches(tokens, 4, max_windows=5)])
    assert windows[:, 0].tolist() == [0, 80, 160, 240, 320]
    everything = numpy.concatenate([batch for (batch,) in evaluation_batches(tokens, 4)])
    assert everything[:, 1:].ravel().tolist() == list(range(1, 401))


def test_evaluate_without_batches_returns_nan() -> None:
    assert math.isnan(line_trainer().evaluate([])["loss"])


def test_accuracy_of_next_tokens(backend: Backend) -> None:
    logits = tt.asarray(numpy.eye(4, dtype="float32")[[[0, 1, 2], [3, 3, 3]]])  # (2, 3, 4), argmax 0 1 2 and 3 3 3
    accuracy = LanguageModelAccuracy()
    assert accuracy(logits, tt.asarray([[9, 0, 1, 3], [9, 3, 0, 0]])) == pytest.approx(3 / 6)
    assert accuracy(logits, tt.asarray([[9, 0, 1], [9, 3, 3]])) == pytest.approx(1.0)
    assert accuracy(logits, tt.asarray([[9, 0, -100, -100], [9, -100, 0, -100]])) == pytest.approx(1 / 2)
    assert LanguageModelAccuracy(ignore_index=0)(logits, tt.asarray([[9, 0, 1, 3], [9, 3, 0, 0]])) == pytest.approx(2 / 3)


def test_targets_may_have_values_outside_the_vocabulary() -> None:
    random.seed(0)
    model = small_gpt(5, layers=1)
    trainer = Trainer(model, SGD(model.parameters()), nn.CrossEntropyLoss())
    ids, targets = numpy.array([[1, 2, 3]]), numpy.array([[2, 3, -100]])
    assert math.isfinite(trainer.fit(lambda: (ids, targets), 1)[0].train_loss)
    with pytest.raises(ValueError, match="-100"):
        trainer.fit(lambda: (targets, ids), 2)
