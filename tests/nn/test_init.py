"""Initialization in place, as in ``torch.nn.init``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.nn import init

#: The mean and the standard deviation of each distribution, for a weight (200, 30, 2, 2): 120 inputs and 800 outputs.
DISTRIBUTIONS: list[tuple[Callable[..., Any], dict[str, Any], float, float]] = [
    (init.normal_, {"mean": 1.0, "std": 0.02}, 1.0, 0.02),
    (init.uniform_, {"a": -1.0, "b": 3.0}, 1.0, 4 / math.sqrt(12)),
    (init.xavier_uniform_, {"gain": 2.0}, 0.0, 2 * math.sqrt(2 / 920)),
    (init.xavier_normal_, {}, 0.0, math.sqrt(2 / 920)),
    (init.kaiming_uniform_, {"nonlinearity": "relu"}, 0.0, math.sqrt(2 / 120)),
    (init.kaiming_uniform_, {"a": math.sqrt(5)}, 0.0, math.sqrt(2 / 6 / 120)),
    (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "tanh"}, 0.0, 5 / 3 / math.sqrt(800)),
]


@pytest.mark.parametrize(("function", "settings", "mean", "std"), DISTRIBUTIONS)
def test_values_have_the_mean_and_standard_deviation(
    backend: Backend, function: Callable[..., Any], settings: dict[str, Any], mean: float, std: float
) -> None:
    tt.seed(0)
    weight = nn.Parameter(tt.zeros((200, 30, 2, 2)))
    assert function(weight, **settings) is weight
    values = host(weight)
    assert values.dtype == numpy.float32
    assert values.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(values.size))
    assert values.std() == pytest.approx(std, rel=0.03)


def test_constants_are_filled_in_and_the_parameter_stays_a_leaf(backend: Backend) -> None:
    layer = nn.Linear(2, 3)
    for function, value in ((init.zeros_, 0), (init.ones_, 1), (lambda t: init.constant_(t, 7.0), 7)):
        function(layer.bias)
        assert_close(layer.bias, numpy.full(3, value, numpy.float32))
    tt.sum(layer(tt.ones((1, 2)))).backward()
    assert layer.bias is not None
    assert layer.bias.grad is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.xavier_uniform_(tt.zeros(3)), r"needs a weight \(out, in, ...\), got shape \(3,\)"),
        (lambda: init.kaiming_normal_(tt.zeros((3, 3)), mode="fan"), "'fan_in' or 'fan_out', got 'fan'"),
        (lambda: init.kaiming_normal_(tt.zeros((3, 3)), nonlinearity="gelu"), "one of leaky_relu, relu, tanh, sigmoid, linear, got 'gelu'"),
    ],
)
def test_bad_arguments_raise(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_name_suggests_a_similar_one() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'kaiming_normal'; did you mean kaiming_normal_\?"):
        _ = init.kaiming_normal  # type: ignore[attr-defined]
