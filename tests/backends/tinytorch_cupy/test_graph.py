"""Steps that are captured once and then replayed. Nothing is computed during capture."""

from __future__ import annotations

import gc
import logging
from contextlib import nullcontext
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.emulated_cuda import hooks
from tinytorch import ops
from tinytorch.generation import generate, stream
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.optim import AdamW, WarmupCosine
from tinytorch.text import CharTokenizer
from tinytorch.training import LanguageModelTrainer
from tinytorch.training.language_model import random_batches

TEXT = "the quick brown fox jumps over the lazy dog. " * 30


def add_step(state: Any, batch: Any) -> Any:
    """A step: a running sum and a step count; aux is twice the old sum."""
    total, count = state
    return (total + batch[0], count + 1), (total * 2,)


def start(gpu: Any) -> tuple[Any, ...]:
    return gpu.cupy.zeros(3), gpu.cupy.zeros((), dtype="int32")


def test_a_step_runs_in_python_only_twice(gpu: Any) -> None:
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        return add_step(state, batch)

    captured = gpu.backend.compile(step, donate=True)
    state: Any = start(gpu)
    for i in range(5):
        state, (doubled,) = captured(state, (gpu.cupy.asarray(numpy.full(3, float(i + 1))),))
        assert doubled.get().tolist() == [2.0 * sum(range(i + 1))] * 3
    assert state[0].get().tolist() == [15.0] * 3
    assert int(state[1]) == 5
    assert len(runs) == 2


def test_a_replay_is_one_launch(gpu: Any) -> None:
    captured = gpu.backend.compile(lambda state, batch: ((state[0] + 1 + batch[0],), ()), donate=True)
    batch = (gpu.cupy.ones(3),)
    state, _ = captured((gpu.cupy.zeros(3),), batch)
    before = hooks.launches()
    state, _ = captured(state, batch)  # state and batch are already in the buffers
    assert hooks.launches() == before + 1
    assert state[0].get().tolist() == [4.0] * 3


def test_results_are_not_overwritten_without_donate(gpu: Any) -> None:
    kept = gpu.backend.compile(add_step, donate=False)
    initial = start(gpu)
    one = (gpu.cupy.ones(3),)
    first, (aux,) = kept(initial, one)
    second, _ = kept(first, one)
    assert first[0].get().tolist() == [1.0] * 3
    assert second[0].get().tolist() == [2.0] * 3
    assert aux.get().tolist() == [0.0] * 3
    assert initial[0].get().tolist() == [0.0] * 3


def test_a_different_state_can_be_passed(gpu: Any) -> None:
    captured = gpu.backend.compile(add_step, donate=True)
    one = (gpu.cupy.ones(3),)
    captured(start(gpu), one)
    state, _ = captured((gpu.cupy.full(3, 10.0), gpu.cupy.asarray(numpy.array(7, "int32"))), one)
    assert state[0].get().tolist() == [11.0] * 3
    assert int(state[1]) == 8


def test_states_used_alternately_are_independent(gpu: Any) -> None:
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        return add_step(state, batch)

    captured = gpu.backend.compile(step, donate=True)
    one = (gpu.cupy.ones(3),)
    left, _ = captured(start(gpu), one)
    right, _ = captured((gpu.cupy.full(3, 100.0), gpu.cupy.zeros((), dtype="int32")), one)
    for _ in range(3):
        left, _ = captured(left, one)
        right, _ = captured(right, one)
    assert left[0].get().tolist() == [4.0] * 3
    assert right[0].get().tolist() == [104.0] * 3
    assert len(runs) == 4  # two graphs
    del left
    captured(start(gpu), one)
    assert len(runs) == 4  # reuses the graph whose state is no longer referenced


def test_each_set_of_shapes_has_its_own_graph(gpu: Any) -> None:
    captured = gpu.backend.compile(add_step, donate=True)
    for size in (3, 4, 3):
        state, _ = captured((gpu.cupy.zeros(size), gpu.cupy.zeros((), dtype="int32")), (gpu.cupy.ones(size),))
        assert state[0].get().tolist() == [1.0] * size


def test_a_step_may_swap_its_state_arrays(gpu: Any) -> None:
    """A new value shares memory with another old one."""
    captured = gpu.backend.compile(lambda state, batch: ((state[1], state[0], state[2]), ()), donate=True)
    state = tuple(gpu.cupy.full(2, float(i)) for i in range(3))
    for turn in range(3):
        state, _ = captured(state, ())
        assert [array.get().tolist()[0] for array in state] == ([1.0, 0.0, 2.0] if turn % 2 == 0 else [0.0, 1.0, 2.0])


def test_values_written_in_place_are_not_copied(gpu: Any) -> None:
    def step(state: Any, batch: Any) -> Any:
        state[0][...] = state[0] + batch[0]
        return state, ()

    captured = gpu.backend.compile(step, donate=True)
    initial = (gpu.cupy.zeros(2),)
    state, _ = captured(initial, (gpu.cupy.ones(2),))
    assert state[0].get().tolist() == [1.0, 1.0]  # the warm-up wrote to copies
    assert initial[0].get().tolist() == [0.0, 0.0]


def test_a_step_that_reads_on_the_host_is_not_captured_and_warns_once(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    def step(state: Any, batch: Any) -> Any:
        return ((state[0] + 1,) if float(state[0][0]) < 10 else state), ()

    captured = gpu.backend.compile(step, donate=True)
    state: Any = (gpu.cupy.zeros(2),)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            state, _ = captured(state, ())
    assert state[0].get().tolist() == [3.0, 3.0]
    assert len(caplog.messages) == 1
    assert "D2H transfers are disallowed" in caplog.messages[0]
    assert not gpu.cupy.cuda.get_current_stream().is_capturing()


def test_an_error_in_the_step_is_raised(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    def step(state: Any, batch: Any) -> Any:
        raise KeyError("mistaken")

    with pytest.raises(KeyError, match="mistaken"):
        gpu.backend.compile(step, donate=True)(start(gpu), ())
    assert caplog.messages == []


def test_a_graph_has_its_own_pool_stream_and_workspace(gpu: Any) -> None:
    cupy = gpu.cupy
    a, allocator = cupy.ones((2, 2)), cupy.cuda.get_allocator()
    step = gpu.backend.compile(lambda state, batch: ((gpu.backend.xp.matmul(state[0], batch[0]),), ()), donate=True)
    state, _ = step((a,), (a,))
    assert state[0].get().tolist() == [[2.0, 2.0], [2.0, 2.0]]
    (places,) = {(call["stream"], call["workspace"]) for call in hooks.matmuls()}
    assert 0 not in places
    assert cupy.cuda.get_allocator() == allocator  # the caller's allocator is restored
    gpu.backend.xp.matmul(a, a)
    (call,) = hooks.matmuls()
    assert call["stream"] == 0
    assert call["workspace"] not in (0, places[1])


# ---- training and decoding ----


def trainer(precision: str = "float32") -> LanguageModelTrainer:
    random.seed(0)
    tokenizer = CharTokenizer().fit(TEXT)
    model = TinyGPT(tokenizer.get_vocab_size(), d_model=16, num_heads=2, num_layers=2, max_length=16, dropout=0.1, positional="learned")
    optimizer = AdamW(model.parameters(), lr=3e-3, schedule=WarmupCosine(3, 20), max_norm=1.0)
    return LanguageModelTrainer(model, tokenizer, optimizer, precision=precision)


def losses(precision: str = "float32", steps: int = 12) -> list[float]:
    one = trainer(precision)
    return [record.train_loss for record in one.trainer.fit(random_batches(one.tokenizer.encode_array(TEXT), 16, 4), steps)]


def test_captured_training_without_kernels_matches_numpy(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    with ops.portable_kernels():
        captured = losses()
    with tt.use_backend("numpy"):
        expected = losses()
    numpy.testing.assert_allclose(captured, expected, atol=2e-5)
    assert caplog.messages == []  # no warning: captured


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_captured_training_in_16_bits_without_kernels(gpu: Any, caplog: pytest.LogCaptureFixture, precision: str) -> None:
    with ops.portable_kernels():
        numpy.testing.assert_allclose(losses(precision), losses("float32"), atol=2e-2)
    assert caplog.messages == []


@pytest.mark.parametrize("kernels", [nullcontext, ops.portable_kernels])
def test_captured_decoding_matches_numpy(gpu: Any, caplog: pytest.LogCaptureFixture, kernels: Any) -> None:
    def generated() -> Any:
        random.seed(0)
        model = TinyGPT(11, d_model=16, num_heads=2, num_layers=2, max_length=8)
        prompts = [[1, 2, 3], [4], [5, 6]]
        return generate(model, prompts, 20, temperature=0.0), generate(model, prompts[0], 20, seed=3)

    with kernels():
        captured = generated()
    with tt.use_backend("numpy"):
        assert generated() == captured
    assert caplog.messages == []


def test_texts_generated_alternately_are_independent(gpu: Any) -> None:
    random.seed(0)
    model = TinyGPT(11, d_model=16, num_heads=2, num_layers=1, max_length=8)
    alone = [generate(model, prompt, 6, temperature=0.0) for prompt in ([1, 2], [7, 3])]
    by_turns = list(zip(*[stream(model, prompt, 6, temperature=0.0) for prompt in ([1, 2], [7, 3])], strict=True))
    assert [[token for update in updates for token in update] for updates in zip(*by_turns, strict=True)] == alone


def test_captured_decoding_uses_updated_weights(gpu: Any) -> None:
    random.seed(0)
    model = TinyGPT(11, d_model=16, num_heads=2, num_layers=1, max_length=8)
    before = generate(model, [1, 2], 6, temperature=0.0)
    model.load_state_dict({name: -3 * value.numpy() for name, value in model.state_dict().items()})
    after = generate(model, [1, 2], 6, temperature=0.0)
    with tt.use_backend("numpy"):
        copy = TinyGPT(11, d_model=16, num_heads=2, num_layers=1, max_length=8)
        copy.load_state_dict({name: value.numpy() for name, value in model.state_dict().items()})
        assert after == generate(copy, [1, 2], 6, temperature=0.0)
    assert before != after


def test_a_long_run_needs_no_more_arrays_than_a_short_one(gpu: Any) -> None:
    one = trainer()
    next_batch = random_batches(one.tokenizer.encode_array(TEXT), 16, 4)

    def count_arrays(steps: int) -> int:
        one.trainer.fit(next_batch, steps)
        gc.collect()
        return sum(type(thing) is gpu.cupy.ndarray for thing in gc.get_objects())

    count_arrays(17)
    assert count_arrays(18) == count_arrays(60)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-5), ("bfloat16", 2e-2), ("float16", 2e-2)])
def test_captured_training_matches_numpy(gpu: Any, caplog: pytest.LogCaptureFixture, precision: str, tolerance: float) -> None:
    captured = losses(precision, steps=5)
    assert caplog.messages == []
    with tt.use_backend("numpy"):
        expected = losses(steps=5)
    numpy.testing.assert_allclose(captured, expected, atol=tolerance)
    expected_launches = {"adam", "layer_norm_backward", "attention_backward_keys", "dropout", "cross_entropy_backward"}
    assert expected_launches <= hooks.kernels()
