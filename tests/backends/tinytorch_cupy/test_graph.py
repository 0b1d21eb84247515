"""Steps that are captured once and then replayed, on a fake GPU that computes nothing during capture."""

from __future__ import annotations

import gc
import logging
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy.emulator import fake_cupy as emulator
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


def start(fake_gpu: Any) -> tuple[Any, ...]:
    return fake_gpu.cupy.zeros(3), fake_gpu.cupy.zeros((), dtype="int32")


def test_a_step_runs_in_python_only_twice(fake_gpu: Any) -> None:
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        return add_step(state, batch)

    captured = fake_gpu.backend.compile(step, donate=True)
    state: Any = start(fake_gpu)
    for i in range(5):
        state, (doubled,) = captured(state, (fake_gpu.cupy.asarray(numpy.full(3, float(i + 1))),))
        assert doubled.get().tolist() == [2.0 * sum(range(i + 1))] * 3
    assert state[0].get().tolist() == [15.0] * 3
    assert int(state[1]) == 5
    assert len(runs) == 2


def test_a_replay_is_one_launch(fake_gpu: Any) -> None:
    captured = fake_gpu.backend.compile(lambda state, batch: ((state[0] + 1 + batch[0],), ()), donate=True)
    batch = (fake_gpu.cupy.ones(3),)
    state, _ = captured((fake_gpu.cupy.zeros(3),), batch)
    before = fake_gpu.cupy.gpu.launched
    state, _ = captured(state, batch)  # state and batch are already in the buffers
    assert fake_gpu.cupy.gpu.launched == before + 1
    assert state[0].get().tolist() == [4.0] * 3


def test_results_are_not_overwritten_without_donate(fake_gpu: Any) -> None:
    kept = fake_gpu.backend.compile(add_step, donate=False)
    initial = start(fake_gpu)
    one = (fake_gpu.cupy.ones(3),)
    first, (aux,) = kept(initial, one)
    second, _ = kept(first, one)
    assert first[0].get().tolist() == [1.0] * 3
    assert second[0].get().tolist() == [2.0] * 3
    assert aux.get().tolist() == [0.0] * 3
    assert initial[0].get().tolist() == [0.0] * 3


def test_a_different_state_can_be_passed(fake_gpu: Any) -> None:
    captured = fake_gpu.backend.compile(add_step, donate=True)
    one = (fake_gpu.cupy.ones(3),)
    captured(start(fake_gpu), one)
    state, _ = captured((fake_gpu.cupy.full(3, 10.0), fake_gpu.cupy.asarray(numpy.array(7, "int32"))), one)
    assert state[0].get().tolist() == [11.0] * 3
    assert int(state[1]) == 8


def test_states_used_alternately_are_independent(fake_gpu: Any) -> None:
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        return add_step(state, batch)

    captured = fake_gpu.backend.compile(step, donate=True)
    one = (fake_gpu.cupy.ones(3),)
    left, _ = captured(start(fake_gpu), one)
    right, _ = captured((fake_gpu.cupy.full(3, 100.0), fake_gpu.cupy.zeros((), dtype="int32")), one)
    for _ in range(3):
        left, _ = captured(left, one)
        right, _ = captured(right, one)
    assert left[0].get().tolist() == [4.0] * 3
    assert right[0].get().tolist() == [104.0] * 3
    assert len(runs) == 4  # two graphs
    del left
    captured(start(fake_gpu), one)
    assert len(runs) == 4  # reuses the graph whose state is no longer referenced


def test_each_set_of_shapes_has_its_own_graph(fake_gpu: Any) -> None:
    captured = fake_gpu.backend.compile(add_step, donate=True)
    for size in (3, 4, 3):
        state, _ = captured((fake_gpu.cupy.zeros(size), fake_gpu.cupy.zeros((), dtype="int32")), (fake_gpu.cupy.ones(size),))
        assert state[0].get().tolist() == [1.0] * size


def test_a_step_may_swap_its_state_arrays(fake_gpu: Any) -> None:
    """A new value shares memory with another old one."""
    captured = fake_gpu.backend.compile(lambda state, batch: ((state[1], state[0], state[2]), ()), donate=True)
    state = tuple(fake_gpu.cupy.full(2, float(i)) for i in range(3))
    for turn in range(3):
        state, _ = captured(state, ())
        assert [array.get().tolist()[0] for array in state] == ([1.0, 0.0, 2.0] if turn % 2 == 0 else [0.0, 1.0, 2.0])


def test_values_written_in_place_are_not_copied(fake_gpu: Any) -> None:
    def step(state: Any, batch: Any) -> Any:
        state[0][...] = state[0] + batch[0]
        return state, ()

    captured = fake_gpu.backend.compile(step, donate=True)
    initial = (fake_gpu.cupy.zeros(2),)
    state, _ = captured(initial, (fake_gpu.cupy.ones(2),))
    assert state[0].get().tolist() == [1.0, 1.0]  # the warm-up wrote to copies
    assert initial[0].get().tolist() == [0.0, 0.0]


def test_a_step_that_reads_on_the_host_is_not_captured_and_warns_once(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    def step(state: Any, batch: Any) -> Any:
        return ((state[0] + 1,) if float(state[0][0]) < 10 else state), ()

    captured = fake_gpu.backend.compile(step, donate=True)
    state: Any = (fake_gpu.cupy.zeros(2),)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            state, _ = captured(state, ())
    assert state[0].get().tolist() == [3.0, 3.0]
    assert len(caplog.messages) == 1
    assert "D2H transfers are disallowed" in caplog.messages[0]
    assert not fake_gpu.cupy.cuda.get_current_stream().is_capturing()


def test_an_error_in_the_step_is_raised(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    def step(state: Any, batch: Any) -> Any:
        raise KeyError("mistaken")

    with pytest.raises(KeyError, match="mistaken"):
        fake_gpu.backend.compile(step, donate=True)(start(fake_gpu), ())
    assert caplog.messages == []


def test_a_graph_has_its_own_pool_stream_and_workspace(fake_gpu: Any) -> None:
    cupy = fake_gpu.cupy
    a = cupy.ones((2, 2))
    step = fake_gpu.backend.compile(lambda state, batch: ((fake_gpu.backend.xp.matmul(state[0], batch[0]),), ()), donate=True)
    state, _ = step((a,), (a,))
    assert state[0].get().tolist() == [[2.0, 2.0], [2.0, 2.0]]
    streams = {call["stream"] for call in fake_gpu.blas.calls}
    assert len(streams) == 1
    assert 0 not in streams
    assert len(cupy.machine.allocators) == 1  # the caller's allocator is restored
    fake_gpu.backend.xp.matmul(a, a)
    assert fake_gpu.blas.calls[-1]["stream"] == 0


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


def test_captured_training_matches_numpy(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    captured = losses()
    with tt.use_backend("numpy"):
        expected = losses()
    numpy.testing.assert_allclose(captured, expected, atol=2e-5)
    assert caplog.messages == []  # no warning: captured


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_captured_training_in_16_bits(fake_gpu: Any, caplog: pytest.LogCaptureFixture, precision: str) -> None:
    numpy.testing.assert_allclose(losses(precision), losses("float32"), atol=2e-2)
    assert caplog.messages == []


def test_captured_decoding_matches_numpy(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    def generated() -> Any:
        random.seed(0)
        model = TinyGPT(11, d_model=16, num_heads=2, num_layers=2, max_length=8)
        prompts = [[1, 2, 3], [4], [5, 6]]
        return generate(model, prompts, 20, temperature=0.0), generate(model, prompts[0], 20, seed=3)

    captured = generated()
    with tt.use_backend("numpy"):
        assert generated() == captured
    assert caplog.messages == []


def test_texts_generated_alternately_are_independent(fake_gpu: Any) -> None:
    random.seed(0)
    model = TinyGPT(11, d_model=16, num_heads=2, num_layers=1, max_length=8)
    alone = [generate(model, prompt, 6, temperature=0.0) for prompt in ([1, 2], [7, 3])]
    by_turns = list(zip(*[stream(model, prompt, 6, temperature=0.0) for prompt in ([1, 2], [7, 3])], strict=True))
    assert [[token for update in updates for token in update] for updates in zip(*by_turns, strict=True)] == alone


def test_captured_decoding_uses_updated_weights(fake_gpu: Any) -> None:
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


def test_a_long_run_needs_no_more_arrays_than_a_short_one(fake_gpu: Any) -> None:
    one = trainer()
    next_batch = random_batches(one.tokenizer.encode_array(TEXT), 16, 4)

    def count_arrays(steps: int) -> int:
        one.trainer.fit(next_batch, steps)
        gc.collect()
        return sum(type(thing) is fake_gpu.cupy.ndarray for thing in gc.get_objects())

    count_arrays(17)
    assert count_arrays(18) == count_arrays(60)


# ---- with emulated CUDA kernels ----


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-5), ("bfloat16", 2e-2), ("float16", 2e-2)])
def test_captured_training_with_all_kernels_matches_numpy(
    fake_gpu_with_kernels: Any, caplog: pytest.LogCaptureFixture, precision: str, tolerance: float
) -> None:
    emulator.state.launches.clear()
    captured = losses(precision, steps=5)
    assert caplog.messages == []
    with tt.use_backend("numpy"):
        expected = losses(steps=5)
    numpy.testing.assert_allclose(captured, expected, atol=tolerance)
    expected_launches = {"adam", "layer_norm_backward", "attention_backward_keys", "dropout", "cross_entropy_backward"}
    assert expected_launches <= set(emulator.state.launches)


def test_captured_decoding_with_all_kernels_matches_numpy(fake_gpu_with_kernels: Any, caplog: pytest.LogCaptureFixture) -> None:
    def generated() -> Any:
        random.seed(0)
        model = TinyGPT(11, d_model=16, num_heads=2, num_layers=1, max_length=8)
        return generate(model, [[1, 2, 3], [4]], 8, temperature=0.0)

    captured = generated()
    assert caplog.messages == []
    with tt.use_backend("numpy"):
        assert generated() == captured
