"""The perceptron and the MLP: parameter counts, outputs, dropout and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.models import MLP, Perceptron
from tinytorch.ops import random


def pixels(*shape: int) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(0).normal(size=shape).astype("float32")


def test_parameter_counts(backend: Backend) -> None:
    assert Perceptron(3072, 10).count_parameters() == 3072 * 10 + 10
    expected = (3072 * 1024 + 1024) + (1024 * 512 + 512) + (512 * 10 + 10)
    assert MLP().count_parameters() == expected == 3_676_682
    assert MLP(64, hidden=(), classes=3).count_parameters() == 64 * 3 + 3


def test_mlp_matches_pytorch(backend: Backend) -> None:
    torch = pytest.importorskip("torch", reason="this test compares with PyTorch, which is not installed")
    model = MLP(12, hidden=(8, 5), classes=3)
    weights = [torch.tensor(host(p).copy()) for p in model.parameters()]
    x = pixels(4, 12)
    h = torch.tensor(x)
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        h = torch.relu(torch.nn.functional.linear(h, weight, bias))
    assert_close(model(x), torch.nn.functional.linear(h, *weights[-2:]).numpy(), 1e-5, 1e-6)


def test_images_are_flattened_in_row_major_order(backend: Backend) -> None:
    x = pixels(2, 3, 4, 5)
    for model in (Perceptron(60, 7), MLP(60, (8,), 7)):
        assert_close(model(x), host(model(x.reshape(2, 60))), rtol=0)
        assert tuple(model(x[:0]).shape) == (0, 7)


def test_dropout_is_off_in_evaluation_mode(backend: Backend) -> None:
    random.seed(0)
    model = MLP(12, hidden=(64,), classes=3, dropout=0.5)
    x = pixels(4, 12)
    dropped = host(model(x))
    kept = host(model.eval()(x))
    assert not numpy.allclose(dropped, kept)
    numpy.testing.assert_array_equal(kept, host(model(x)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLP(12)(pixels(2, 13)), r"Linear expects 12 features in the last axis, got shape \(2, 13\)"),
        (lambda: MLP(12, hidden=(8, 0)), r"MLP: hidden\[1\] must be at least 1, got 0"),
        (lambda: MLP(12, dropout=1.5), "dropout must be at least 0 and at most 1"),
        (lambda: Perceptron(0), "Perceptron: in_features must be at least 1, got 0"),
    ],
)
def test_bad_arguments_raise(backend: Backend, call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_linear_relu_and_dropout_alternate(backend: Backend) -> None:
    kinds = [type(layer) for layer in MLP(12, hidden=(8, 5)).layers]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout] * 2
