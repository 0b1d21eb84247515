"""`functional_call` and `bind`: nested calls, buffers, and several threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tests.nn.modules import Tied
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor


class Counter(nn.Module):
    """Multiplies by a weight and counts its calls in a buffer, as batch normalization would."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter([2.0])
        self.register_buffer("calls", tt.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x * self.weight


def test_functional_call_uses_the_state_and_does_not_change_the_module(backend: Backend) -> None:
    layer = nn.Linear(2, 1)
    before = layer.state_dict()
    state = {"weight": tt.asarray([[1.0, 10.0]]), "bias": tt.asarray([100.0])}
    assert_close(nn.functional_call(layer, state, tt.asarray([[1.0, 2.0]])), numpy.float32([[121]]))
    for name, value in layer.state_dict().items():
        assert_close(value, before[name], rtol=0)


def test_functional_call_is_differentiable_with_respect_to_the_state(backend: Backend) -> None:
    layer = nn.Linear(2, 1)

    def loss(state: dict[str, Tensor], x: Tensor) -> Tensor:
        return tt.sum(nn.functional_call(layer, state, x))

    value, gradient = tt.value_and_grad(loss)({"weight": tt.zeros((1, 2)), "bias": tt.ones(1)}, tt.asarray([[3.0, 4.0], [5.0, 6.0]]))
    assert_close(value, numpy.float32(2))
    assert_close(gradient["weight"], numpy.float32([[8, 10]]))
    assert_close(gradient["bias"], numpy.float32([2]))
    assert layer.weight.grad is None


def test_functional_call_replaces_a_shared_parameter_everywhere(backend: Backend) -> None:
    model = Tied()
    state = {"first.weight": tt.eye(3) * 2.0, "second.bias": tt.zeros(3)}
    assert_close(nn.functional_call(model, state, tt.ones((1, 3))), numpy.full((1, 3), 4.0, numpy.float32))


def test_functional_call_updates_buffers_in_the_state_and_not_on_the_module(backend: Backend) -> None:
    counter = Counter()
    state = {"calls": tt.asarray(10.0)}
    nn.functional_call(counter, state, tt.ones(1))
    assert_close(state["calls"], numpy.float32(11))
    assert_close(counter.calls, numpy.float32(0))


def test_nested_calls_update_the_buffers_of_the_outer_state() -> None:
    counter = Counter()

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = counter

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional_call(counter, {"weight": tt.asarray([3.0])}, x) + self.inner(x)

    state = {"inner.weight": tt.asarray([5.0]), "inner.calls": tt.asarray(0.0)}
    assert_close(nn.functional_call(Outer(), state, tt.ones(1)), numpy.float32([3 + 5]))
    assert float(state["inner.calls"]) == 2.0
    assert float(counter.calls) == 0.0


def test_two_threads_call_a_module_with_different_values() -> None:
    barrier = threading.Barrier(2, timeout=10)

    class Waiting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter([0.0])

        def forward(self, x: Tensor) -> Tensor:
            barrier.wait()  # both threads are in the call now
            return x * self.weight

    module = Waiting()
    results: dict[float, float] = {}

    def call(value: float) -> None:
        results[value] = float(nn.functional_call(module, {"weight": tt.asarray([value])}, tt.ones(1))[0])

    threads = [threading.Thread(target=call, args=(value,)) for value in (2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {2.0: 2.0, 3.0: 3.0}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"wait": [1.0]}, KeyError, "Linear has no parameter or buffer named wait"),
        ({"weight": [[1.0]]}, ValueError, r"weight must have shape \(1, 2\), got \(1, 1\)"),
    ],
)
def test_functional_call_with_a_state_that_does_not_match_raises(state: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nn.functional_call(nn.Linear(2, 1), {name: tt.asarray(value) for name, value in state.items()}, tt.ones((1, 2)))


def test_functional_call_with_a_numpy_array_raises() -> None:
    with pytest.raises(TypeError, match="bias must be a Tensor, got ndarray"):
        nn.functional_call(nn.Linear(2, 1), {"bias": numpy.zeros(1)}, tt.ones((1, 2)))  # type: ignore[dict-item]


def test_bind_replaces_values_inside_the_block_only(backend: Backend) -> None:
    layer = nn.Linear(1, 1, bias=False)
    own = float(layer.weight[0, 0])
    with nn.bind([layer.weight], [tt.asarray([[own + 1.0]])]):
        assert_close(layer.weight, numpy.float32([[own + 1.0]]))
    assert_close(layer.weight, numpy.float32([[own]]))
