"""Parameter groups that change between steps, and state dicts of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.optim import SGD, Adam, AdamW, Optimizer


def two_parameters() -> list[nn.Parameter]:
    return [nn.Parameter([1.0, 2.0]), nn.Parameter([[3.0]])]


def step(optimizer: Optimizer, value: float = 1.0) -> None:
    for parameter in optimizer.parameters:
        parameter.grad = tt.full(parameter.shape, value)
    optimizer.step()


# ---- groups ----


def test_a_learning_rate_set_in_param_groups_acts_in_the_next_step(backend: Backend) -> None:
    ours = two_parameters()
    optimizer = SGD(ours, lr=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.25
    step(optimizer)
    numpy.testing.assert_array_equal(host(ours[0]), [0.75, 1.75])
    assert optimizer.lr == 0.25
    optimizer.lr = 0.125
    assert [group["lr"] for group in optimizer.param_groups] == [0.125]


def test_a_weight_decay_set_in_a_group_acts_in_the_next_step(backend: Backend) -> None:
    first, second = two_parameters()
    optimizer = SGD([{"params": [first]}, {"params": [second]}], lr=0.5)
    optimizer.param_groups[1]["weight_decay"] = 0.5
    step(optimizer, 0.0)
    numpy.testing.assert_array_equal(host(first), [1, 2])
    numpy.testing.assert_array_equal(host(second), [[3 - 0.5 * 0.5 * 3]])


def test_different_learning_rates_raise_at_the_step_and_not_before() -> None:
    first, second = two_parameters()
    optimizer = SGD([{"params": [first]}, {"params": [second]}], lr=0.5)
    optimizer.param_groups[0]["lr"] = 0.1
    with pytest.raises(ValueError, match=r"different learning rates, \[0\.1, 0\.5\]; use an optimizer for each"):
        step(optimizer)
    optimizer.param_groups[1].update(lr=0.1)
    step(optimizer)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda group: group.update(momentum=0.9),
            TypeError,
            'has "lr" and "weight_decay", got \'momentum\'; other settings are attributes',
        ),
        (lambda group: group.update(lr=-1.0), ValueError, "lr must not be negative"),
        (lambda group: group.update(params=[]), TypeError, "create a new optimizer"),
        (lambda group: group.pop("lr"), TypeError, "cannot be deleted"),
    ],
)
def test_a_group_refuses_what_would_have_no_effect(change: Callable[[Any], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        change(SGD(two_parameters()).param_groups[0])


def test_converting_the_parameters_after_a_step_raises(backend: Backend) -> None:
    model = nn.Linear(2, 2)
    optimizer = Adam(model.parameters())
    tt.sum(model(tt.ones((1, 2)))).backward()
    optimizer.step()
    model.double()
    tt.sum(model([[1.0, 1.0]])).backward()
    with pytest.raises(RuntimeError, match=r"is float64, but its optimizer state is not; create the optimizer after model\.to"):
        optimizer.step()


# ---- state dicts ----

OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], str, dict[str, Any]]] = {
    "sgd": (SGD, "SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, "Adam", {"betas": (0.8, 0.9), "eps": 1e-6}),
    "adamw": (AdamW, "AdamW", {"weight_decay": 0.1}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_continues_from_its_state_dict(backend: Backend, name: str) -> None:
    make, _, settings = OPTIMIZERS[name]
    straight, stopped = two_parameters(), two_parameters()
    optimizer, other = make(straight, lr=0.1, **settings), make(stopped, lr=0.1, **settings)
    step(optimizer)
    step(other)
    continued = [nn.Parameter(p.detach()) for p in stopped]
    loaded = make(continued)
    state = other.state_dict()
    step(other, 5.0)  # the state dict holds copies
    loaded.load_state_dict(state)
    for value in (2.0, 3.0):
        step(optimizer, value)
        step(loaded, value)
    assert loaded.lr == 0.1
    assert loaded.steps == 3
    for ours, theirs in zip(continued, straight, strict=True):
        numpy.testing.assert_array_equal(host(ours), host(theirs))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_continues_from_the_state_dict_of_pytorch(backend: Backend, name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, whose state dict is loaded here, is not installed")
    make, torch_name, settings = OPTIMIZERS[name]
    theirs = [torch.nn.Parameter(torch.tensor(host(p))) for p in two_parameters()]
    their_optimizer = getattr(torch.optim, torch_name)(theirs, lr=0.1, **settings)

    def their_step(value: float) -> None:
        for p in theirs:
            p.grad = torch.full(p.shape, value)
        their_optimizer.step()

    their_step(1.0)
    ours = [nn.Parameter(p.detach().numpy()) for p in theirs]
    optimizer = make(ours)
    optimizer.load_state_dict(their_optimizer.state_dict())
    for value in (2.0, 3.0):
        their_step(value)
        step(optimizer, value)
    for parameter, p in zip(ours, theirs, strict=True):
        numpy.testing.assert_allclose(host(parameter), p.detach().numpy(), rtol=1e-6)


def test_a_state_dict_has_the_names_of_pytorch() -> None:
    optimizer = Adam(two_parameters(), lr=0.1)
    step(optimizer)
    state = optimizer.state_dict()
    assert list(state["state"][1]) == ["step", "exp_avg", "exp_avg_sq"]
    group = {"lr": 0.1, "weight_decay": 0.0, "betas": (0.9, 0.999), "eps": 1e-8, "params": [0, 1]}
    assert state["param_groups"] == [group]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda state: state.pop("state"), KeyError, '"state" and "param_groups"'),
        (lambda state: state["state"][0].pop("exp_avg"), KeyError, "no exp_avg for a parameter of shape"),
        (
            lambda state: state["state"][0].update(exp_avg=[1.0]),
            ValueError,
            r"exp_avg must have the shape of its parameter, \(2,\), got \(1,\)",
        ),
        (lambda state: state["param_groups"][0]["params"].pop(), ValueError, r"groups with \[2\] parameters, .* with \[1\]"),
        (lambda state: state["param_groups"][0].update(amsgrad=True), ValueError, "saved with amsgrad, which Adam does not support"),
    ],
)
def test_a_state_dict_that_does_not_fit_raises_and_changes_nothing(
    change: Callable[[Any], object], error: type[Exception], message: str
) -> None:
    optimizer = Adam(two_parameters(), lr=0.1)
    step(optimizer)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 0.5
    change(state)
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    assert optimizer.lr == 0.1
