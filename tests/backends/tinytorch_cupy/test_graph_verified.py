"""A graph is used only if its results equal those of the step, bit for bit; and graphs can be turned off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest

from tests.backends.tinytorch_cupy.test_graph import add_step, start
from tests.emulated_cuda import hooks
from tinytorch.io.errors import InputError
from tinytorch_cupy import create_backend
from tinytorch_cupy.checksum import Checksum


def run_twice(gpu: Any, addends: Callable[[int], Sequence[float]]) -> tuple[list[float], int]:
    """Run two steps that add ``addends(run)`` to an array and to a second one, where ``run`` counts the runs in Python from 1.

    Returns the first elements of both, and the number of runs.
    """
    runs: list[int] = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(len(runs) + 1)
        first, second = addends(len(runs))
        return (state[0] + first, state[1] + second), (state[0] * 2,)

    captured = gpu.backend.compile(step, donate=True)
    state: Any = (gpu.cupy.zeros(3), gpu.cupy.zeros(2))
    for _ in range(2):
        state, _ = captured(state, ())
    return [float(array[0]) for array in state], len(runs)


def test_a_graph_that_computes_something_else_is_not_used(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    captures = (2, 5)  # each attempt runs the step for the warm-up, the capture, and again because they differ
    found, runs = run_twice(gpu, lambda run: (100.0 if run in captures else 1.0, 1.0))
    assert found == [2.0, 2.0]
    assert runs == 8
    assert len(caplog.messages) == 1
    assert "the step runs without a CUDA graph" in caplog.text
    assert "1 of 3 arrays that the graph computes differ from those of the step" in caplog.text


def test_a_graph_that_differs_once_is_captured_again(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    found, runs = run_twice(gpu, lambda run: (100.0 if run == 2 else 1.0, 1.0))
    assert found == [2.0, 2.0]
    assert runs == 5
    assert caplog.messages == []


def test_the_last_bit_counts(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    above = float(numpy.nextafter(1.0, 2.0))
    found, _ = run_twice(gpu, lambda run: (above if run in (2, 5) else 1.0, 1.0))
    assert found == [2.0, 2.0]
    assert "1 of 3 arrays" in caplog.text


def test_nan_equals_nan(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    found, runs = run_twice(gpu, lambda run: (numpy.nan, 1.0))
    assert numpy.isnan(found[0])
    assert (found[1], runs, caplog.messages) == (2.0, 2, [])


def test_arrays_that_differ_between_runs_of_the_step_are_not_compared(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Such as sums by atomic additions."""
    with caplog.at_level(logging.INFO, "tinytorch"):
        found, runs = run_twice(gpu, lambda run: (1.0 + run * 1e-9, 1.0))
    assert found == [pytest.approx(2.0), 2.0]
    assert runs == 3
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "1 of 3 arrays of a CUDA graph are not verified" in caplog.text


def test_one_array_that_differs_between_runs_does_not_excuse_another(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    found, runs = run_twice(gpu, lambda run: (1.0 + run * 1e-9, 100.0 if run in (2, 5) else 1.0))
    assert found == [pytest.approx(2.0), 2.0]
    assert runs == 8
    assert "1 of 3 arrays" in caplog.text


def test_the_state_is_verified_even_if_the_step_overwrites_it(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        state[0][...] = state[0] + (100.0 if len(runs) in (2, 5) else 1.0)
        return state, ()

    state, _ = gpu.backend.compile(step, donate=True)((gpu.cupy.zeros(3),), ())
    assert state[0].get().tolist() == [1.0] * 3
    assert "1 of 1 arrays" in caplog.text


def test_a_graph_is_not_used_if_memory_does_not_suffice_to_verify_it(
    gpu: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        new = (state[0] + 1,)
        monkeypatch.setenv("EMULATED_CUDA_MEMORY", str(hooks.used() + 1024))
        return new, ()

    captured = gpu.backend.compile(step, donate=True)
    state: Any = (gpu.cupy.zeros(2**17),)
    for _ in range(2):
        state, _ = captured(state, ())
        monkeypatch.delenv("EMULATED_CUDA_MEMORY")
    assert float(state[0][0]) == 2.0
    assert "Out of memory" in caplog.text


# ---- checksums ----


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "bfloat16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("size", [1, 5, 2**18 + 3])
def test_checksums_differ_if_a_bit_does(gpu: Any, dtype: str, size: int) -> None:
    cupy = gpu.cupy
    checksum = Checksum(cupy)
    values = numpy.random.default_rng(0).integers(0, 2, size).astype("bfloat16" if dtype == "bfloat16" else dtype)
    other = values.copy()
    other.view("uint8")[-1] ^= 1
    same, changed = checksum.of([cupy.array(values), cupy.array(values.copy())]), checksum.of([cupy.array(other)])
    assert same.dtype == numpy.uint64
    assert int(same[0]) == int(same[1])
    assert int(same[0]) != int(changed[0])


def test_checksums_are_of_values_in_order(gpu: Any) -> None:
    cupy = gpu.cupy
    checksum = Checksum(cupy)
    x = cupy.array(numpy.arange(6, dtype="float32").reshape(2, 3))
    transposed, copied, flat, empty = checksum.of([x.T, x.T.copy(), x, x[:0]]).tolist()
    assert transposed == copied != flat
    assert empty == 0
    zero = cupy.zeros(1)
    assert checksum.of([-zero]).tolist() != checksum.of([zero]).tolist()


# ---- TINYTORCH_GRAPH ----


@pytest.mark.parametrize(("value", "runs_in_python"), [("", 2), ("on", 2), ("off", 3), (" OFF ", 3)])
def test_tinytorch_graph_turns_graphs_off(gpu: Any, monkeypatch: pytest.MonkeyPatch, value: str, runs_in_python: int) -> None:
    monkeypatch.setenv("TINYTORCH_GRAPH", value)
    backend = create_backend()
    runs = []

    def step(state: Any, batch: Any) -> Any:
        runs.append(1)
        return add_step(state, batch)

    compiled = backend.compile(step, donate=True)
    state: Any = start(gpu)
    for _ in range(3):
        state, _ = compiled(state, (gpu.cupy.ones(3),))
    assert state[0].get().tolist() == [3.0] * 3
    assert len(runs) == runs_in_python
    assert backend.capabilities.graph is (runs_in_python == 2)  # without graphs, decoding uses no static cache


def test_other_values_of_tinytorch_graph_raise(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTORCH_GRAPH", "no")
    with pytest.raises(InputError, match="TINYTORCH_GRAPH must be 'on' or 'off', got 'no'"):
        create_backend()
