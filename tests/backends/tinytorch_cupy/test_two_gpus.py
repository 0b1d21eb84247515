"""Two GPUs in one process: operations run on the GPU of their operands, whichever GPU is current."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy.test_graph import losses
from tests.emulated_cuda import hooks
from tinytorch import nn, ops
from tinytorch.generation import generate
from tinytorch.models import TinyGPT
from tinytorch.ops import random
from tinytorch.optim import SGD, AdamW
from tinytorch_cupy import gemm

CALLS: dict[str, Callable[[tt.Tensor], Any]] = {
    "+": lambda x: x + x,
    "2 /": lambda x: 2 / x,
    "**": lambda x: x**2,
    "[]": lambda x: x[1:, None, 0],
    "[array]": lambda x: x[tt.asarray([1, 0, 1], device=x.device)],
    "astype": lambda x: tt.astype(x, "float64"),
    "matmul": lambda x: x @ x.T,
    "sort": lambda x: tt.sort(x, axis=-1),
    "where": lambda x: tt.where(x > 1, x, -x),
    "var": lambda x: tt.var(x, axis=0),
    "zeros_like": tt.zeros_like,
    "inv": lambda x: tt.linalg.inv(x @ x.T),
    "relu": lambda x: ops.relu(x),
    "relu in float64": lambda x: ops.relu(tt.astype(x, "float64")),
    "layer_norm": lambda x: ops.layer_norm(x, tt.ones_like(x)[0], tt.zeros_like(x)[0], eps=1e-5),
    "linear": lambda x: ops.linear(x, x, None),
    "attention": lambda x: ops.attention(x[None], x[None], x[None], None, None, num_heads=1, causal=True, p=0.0, site=0),
    "cross_entropy": lambda x: nn.CrossEntropyLoss()(x, tt.asarray([1, 0], device=x.device)),
}


@pytest.fixture
def switch_gpu(two_gpus: Any) -> Callable[[], None]:
    """A function that makes the other GPU current, as work on it would."""

    def run() -> None:
        two_gpus.cupy.cuda.Device(0).use()

    return run


def gpu_of(x: tt.Tensor) -> int:
    return int(x.raw.device.id)


@pytest.mark.parametrize("name", CALLS)
def test_results_and_gradients_are_on_the_gpu_of_the_operands(two_gpus: Any, switch_gpu: Callable[[], None], name: str) -> None:
    values = [[0.5, 2.0, 1.0], [1.5, -1.0, 3.0]]
    x = tt.asarray(values, dtype="float32")
    switch_gpu()
    out = CALLS[name](x)
    switch_gpu()
    if name != "sort":
        gradient = tt.grad(lambda x: tt.sum(CALLS[name](x) ** 2))(x)
        assert gpu_of(gradient) == 1
    assert gpu_of(out) == 1
    with tt.use_backend("numpy"):
        expected = CALLS[name](tt.asarray(values, dtype="float32")).numpy()
    numpy.testing.assert_allclose(out.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "zeros_like"])
def test_a_pullback_runs_on_the_gpu_of_its_operands(two_gpus: Any, switch_gpu: Callable[[], None], name: str) -> None:
    out, pullback = tt.vjp(CALLS[name], tt.asarray([[0.5, 2.0, 1.0], [1.5, -1.0, 3.0]], dtype="float32"))
    g = tt.ones_like(out)
    switch_gpu()
    (gradient,) = pullback(g)
    assert gpu_of(gradient) == 1


def test_a_backward_pass_after_work_on_the_other_gpu(two_gpus: Any, switch_gpu: Callable[[], None]) -> None:
    on_second, on_first = [tt.Tensor([[1.0, -2.0]], device=f"cupy:{i}", requires_grad=True) for i in (1, 0)]
    for x in (on_second, on_first):
        loss = tt.sum(ops.gelu(x, approximate="tanh") * tt.exp(x) + x[:, ::-1] ** 2)
        switch_gpu() if x is on_first else None
        loss.backward()
    second_grad, first_grad = on_second.grad, on_first.grad
    assert second_grad is not None
    assert first_grad is not None
    assert (gpu_of(second_grad), gpu_of(first_grad)) == (1, 0)
    numpy.testing.assert_array_equal(second_grad.numpy(), first_grad.numpy())


@pytest.mark.parametrize("optimizer", [AdamW, SGD])
def test_models_on_two_gpus_train_alternately(two_gpus: Any, optimizer: Any) -> None:
    def model(device: str) -> Any:
        with tt.use_backend(device):
            random.seed(0)
            net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2))
            return net, optimizer(net.parameters(), lr=0.1), tt.asarray([[1.0, 2.0, -1.0]] * 2), tt.asarray([1, 0])

    runs = [model(f"cupy:{i}") for i in range(2)]
    for _ in range(3):
        values = []
        for net, update, x, y in runs:
            loss = nn.CrossEntropyLoss()(net(x), y)
            update.zero_grad()
            values.append(loss)
        for loss in values:
            loss.backward()
        for _, update, _, _ in runs:
            update.step()
        assert values[0].item() == values[1].item()


def test_captured_training_runs_on_its_gpu(two_gpus: Any, switch_gpu: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    before = hooks.launches(0)
    found = losses(steps=3)
    switch_gpu()
    assert losses(steps=3) == found
    assert caplog.messages == []
    assert hooks.launches(0) == before
    with tt.use_backend("numpy"):
        numpy.testing.assert_allclose(losses(steps=3), found, atol=2e-5)


def test_a_graph_is_replayed_on_its_gpu_after_work_on_the_other(two_gpus: Any, switch_gpu: Callable[[], None]) -> None:
    captured = two_gpus.backend.compile(lambda state, batch: ((state[0] + batch[0],), ()), donate=True)
    state: Any = (tt.zeros(3).raw,)
    batch = (tt.ones(3).raw,)
    before = hooks.launches(0)
    for _ in range(3):
        switch_gpu()
        state, _ = captured(state, batch)
    assert hooks.launches(0) == before
    assert two_gpus.backend.owns(state[0])
    assert two_gpus.backend.to_host(state[0]).tolist() == [3.0] * 3


def test_a_cublas_handle_is_destroyed_on_its_own_gpu(two_gpus: Any, switch_gpu: Callable[[], None]) -> None:
    gemm._thread_local.__dict__.clear()
    tt.ones((2, 2)) @ tt.ones((2, 2))
    assert list(gemm._thread_local.handles) == [1]
    before = [hooks.handles(device) for device in (0, 1)]
    switch_gpu()
    gemm._thread_local.__dict__.clear()  # as when the thread ends
    assert [hooks.handles(device) for device in (0, 1)] == [before[0], before[1] - 1]


def test_both_gpus_generate_the_same_text(two_gpus: Any) -> None:
    texts = []
    for device in ("cupy:0", "cupy:1", "cupy:0"):
        with tt.use_backend(device):
            random.seed(0)
            texts.append(generate(TinyGPT(11, d_model=16, num_heads=2, num_layers=1, max_length=8), [1, 2], 6, temperature=0.0))
    assert texts[0] == texts[1] == texts[2]


def test_a_tensor_is_moved_between_gpus(two_gpus: Any, switch_gpu: Callable[[], None]) -> None:
    x = tt.asarray([1.0, 2.0])
    on_first_gpu = x.to("cupy:0")
    assert (gpu_of(x), gpu_of(on_first_gpu)) == (1, 0)
    switch_gpu()
    assert (on_first_gpu.to("cupy:1") + x).tolist() == [2.0, 4.0]
