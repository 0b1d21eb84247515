"""Models train and generate with the emulated CUDA kernels as with the portable versions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy.checks import EMULATED, emulated
from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tinytorch import nn, ops, optim
from tinytorch.backend import get_backend
from tinytorch.generation import generate
from tinytorch.models import LeNet5, TinyGPT
from tinytorch_cupy.kernels import KERNELS
from tinytorch_numpy.kernels import KERNELS as HOST_KERNELS


@contextmanager
def on_the_emulator() -> Iterator[None]:
    """Use the GPU's kernels in the numpy backend inside a ``with`` block."""
    backend = get_backend("numpy")
    original, backend.kernels = backend.kernels, {"linear": HOST_KERNELS["linear"], **{name: emulated(KERNELS[name]) for name in EMULATED}}
    try:
        yield
    finally:
        backend.kernels = original


@pytest.fixture(autouse=True)
def _set_up(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = sys.modules["tinytorch_cupy.kernels.conv2d"]
    monkeypatch.setattr(module, "matmul", lambda a, b: fake_cupy.asarray(numpy.asarray(a) @ numpy.asarray(b)))
    with tt.use_backend("numpy"):
        yield


def losses(model: nn.Module, optimizer: optim.Optimizer, batches: list[tuple[Any, Any]]) -> list[float]:
    found = []
    for inputs, targets in batches:
        loss = nn.CrossEntropyLoss()(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.item()))
    return found


class FlatLogits(nn.Module):
    """A language model with logits of shape (B * T, V)."""

    def __init__(self) -> None:
        super().__init__()
        self.model = TinyGPT(vocab_size=11, d_model=32, num_heads=2, num_layers=2, max_length=24, dropout=0.2)

    def forward(self, ids: Any) -> Any:
        return tt.reshape(self.model(ids), (-1, 11))


def train_gpt() -> list[float]:
    tt.seed(3)
    model = FlatLogits()
    ids = numpy.random.default_rng(0).integers(0, 11, (3, 3, 20))
    batches = [(rows[:, :-1], tt.asarray(rows[:, 1:].reshape(-1))) for rows in ids]
    return losses(model, optim.AdamW(model.parameters(), lr=1e-2, max_norm=1.0), batches)


def train_lenet() -> list[float]:
    tt.seed(3)
    model = LeNet5(image=(1, 16, 16), classes=4)
    random = numpy.random.default_rng(0)
    batches = [(tt.asarray(random.normal(size=(3, 1, 16, 16)), dtype="float32"), tt.asarray([0, 3, 1])) for _ in range(3)]
    return losses(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, max_norm=1.0), batches)


@pytest.mark.parametrize(
    ("train", "used"),
    [
        (train_gpt, {"adam", "layer_norm_backward", "attention_backward_keys", "dropout", "embedding_joins", "cross_entropy_backward"}),
        (train_lenet, {"sgd", "im2col", "col2im", "cross_entropy_backward"}),
    ],
)
def test_training_losses_match_the_portable_versions(train: Callable[[], list[float]], used: set[str]) -> None:
    with ops.portable_kernels():
        expected = train()
    fake_cupy.state.launches.clear()
    with on_the_emulator():
        found = train()
    numpy.testing.assert_allclose(found, expected, rtol=2e-5)
    assert used <= set(fake_cupy.state.launches)


def test_generated_tokens_match_the_portable_versions() -> None:
    tt.seed(4)
    model = TinyGPT(vocab_size=11, d_model=32, num_heads=2, num_layers=2, max_length=24).eval()

    def generate_tokens() -> Any:
        return generate(model, [1, 2, 3], max_new_tokens=12, temperature=0.0)

    with ops.portable_kernels():
        expected = generate_tokens()
    fake_cupy.state.launches.clear()
    with on_the_emulator():
        assert generate_tokens() == expected
    assert {"attention_decode", "append_rows"} <= set(fake_cupy.state.launches)


def test_second_derivatives_match_the_portable_versions() -> None:
    draw = numpy.random.default_rng(1)
    qkv = tt.asarray(draw.normal(size=(1, 4, 12)), dtype="float32")
    weight, bias = (tt.asarray(draw.normal(size=4), dtype="float32") for _ in range(2))

    def function(x: tt.Tensor) -> tt.Tensor:
        out = ops.packed_attention(x, None, None, num_heads=2, causal=True, p=0.0, site=0)
        out = ops.gelu(ops.layer_norm(out, weight, bias, eps=1e-5), approximate="tanh")
        return tt.sum(ops.relu(out) * out)

    def squared_gradient(x: tt.Tensor) -> tt.Tensor:
        return tt.sum(tt.grad(function)(x) ** 2)

    with ops.portable_kernels():
        expected = tt.grad(squared_gradient)(qkv).numpy()
    with on_the_emulator():
        numpy.testing.assert_allclose(tt.grad(squared_gradient)(qkv).numpy(), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
