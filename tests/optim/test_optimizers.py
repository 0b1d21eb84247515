"""Optimizers by their stateful `step`: against PyTorch's, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.optim import SGD, Adam, AdamW, Optimizer, WarmupCosine

SHAPES = [(3, 4), (4,), (2, 1, 2)]

#: A power of two is the same number in float32, in which learning rates are kept, and in float64, in which PyTorch keeps them.
RATE = 2.0**-6


def parameters(dtype: str = "float64", seed: int = 0) -> list[nn.Parameter]:
    random = numpy.random.default_rng(seed)
    return [nn.Parameter(random.normal(size=shape).astype(dtype)) for shape in SHAPES]


def gradients(step: int, dtype: str = "float64") -> list[Any]:
    random = numpy.random.default_rng(100 + step)
    return [(2 * random.normal(size=shape)).astype(dtype) for shape in SHAPES]


def take_steps(optimizer: Optimizer, first: int, last: int, dtype: str = "float64") -> None:
    for step in range(first, last + 1):
        for parameter, gradient in zip(optimizer.parameters, gradients(step, dtype), strict=True):
            parameter.grad = tt.asarray(gradient)
        optimizer.step()


MAKERS: dict[str, tuple[Callable[..., Optimizer], str, dict[str, Any]]] = {
    "sgd": (SGD, "SGD", {}),
    "sgd decay": (SGD, "SGD", {"weight_decay": 0.1}),
    "momentum": (SGD, "SGD", {"momentum": 0.9}),
    "nesterov": (SGD, "SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (Adam, "Adam", {}),
    "adam decay": (Adam, "Adam", {"weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-6}),
    "adamw": (AdamW, "AdamW", {"weight_decay": 0.1}),
}


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("name", MAKERS)
def test_twenty_steps_equal_pytorch(backend: Backend, name: str, max_norm: float | None) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle here, is not installed")
    make, peer_name, settings = MAKERS[name]
    ours = parameters()
    peers = [torch.nn.Parameter(torch.tensor(host(p))) for p in ours]
    # PyTorch decays vectors too; ours says that it does not, so the peer gets them as a group of their own
    groups = [{"params": [p], **({"weight_decay": 0.0} if name == "adamw" and p.ndim == 1 else {})} for p in peers]
    peer = getattr(torch.optim, peer_name)(groups, lr=RATE, **settings)
    optimizer = make(ours, lr=RATE, max_norm=max_norm, **settings)
    for step in range(1, 21):
        for p, gradient in zip(peers, gradients(step), strict=True):
            p.grad = torch.tensor(gradient)
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(peers, max_norm)
        peer.step()
    take_steps(optimizer, 1, 20)
    assert optimizer.steps == 20
    for parameter, p in zip(ours, peers, strict=True):
        numpy.testing.assert_allclose(host(parameter), p.detach().numpy(), rtol=5e-6, atol=1e-7)  # rates are kept in float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [SGD, lambda p: SGD(p, momentum=0.9), Adam, AdamW], ids=["sgd", "momentum", "adam", "adamw"])
def test_every_parameter_moves_against_its_gradient(backend: Backend, make: Callable[..., Optimizer], dtype: str) -> None:
    ours = parameters(dtype)
    before = [host(p).copy() for p in ours]
    take_steps(make(ours), 1, 1, dtype)
    for parameter, old, gradient in zip(ours, before, gradients(1, dtype), strict=True):
        assert parameter.dtype.name == dtype
        assert numpy.all(numpy.sign(host(parameter) - old) == -numpy.sign(gradient))


def test_steps_leave_the_gradient_and_earlier_values_alone(backend: Backend) -> None:
    ours = parameters()
    held = [p.detach() for p in ours]
    before = [host(tensor).copy() for tensor in held]
    take_steps(Adam(ours, max_norm=0.1), 1, 1)
    for parameter, tensor, old, gradient in zip(ours, held, before, gradients(1), strict=True):
        assert parameter.grad is not None
        numpy.testing.assert_array_equal(host(parameter.grad), gradient)
        numpy.testing.assert_array_equal(host(tensor), old)


def test_adamw_decays_matrices_only(backend: Backend) -> None:
    ours = parameters()
    before = [host(p).copy() for p in ours]
    optimizer = AdamW(ours, lr=RATE, weight_decay=0.5)
    for parameter in ours:
        parameter.grad = tt.zeros(parameter.shape, dtype="float64")
    optimizer.step()
    for parameter, old in zip(ours, before, strict=True):
        expected = old * (1 - RATE * 0.5) if old.ndim > 1 else old
        numpy.testing.assert_allclose(host(parameter), expected, rtol=1e-12)


def test_clipping_takes_all_gradients_together(backend: Backend) -> None:
    ours = parameters()
    before = [host(p).copy() for p in ours]
    take_steps(SGD(ours, lr=1.0, max_norm=0.5), 1, 1)
    moved = numpy.concatenate([(host(p) - old).ravel() for p, old in zip(ours, before, strict=True)])
    gradient = numpy.concatenate([g.ravel() for g in gradients(1)])
    assert numpy.linalg.norm(moved) == pytest.approx(0.5, rel=1e-5)
    numpy.testing.assert_allclose(moved / numpy.linalg.norm(moved), -gradient / numpy.linalg.norm(gradient), rtol=1e-6)


@pytest.mark.parametrize("settings", [(4, 10, 0.1), (0, 5, 0.0), (3, 3, 0.5)])
def test_warmup_cosine_is_its_formula(backend: Backend, settings: tuple[int, int, float]) -> None:
    warmup, end, final = settings
    schedule = WarmupCosine(warmup, end, final)
    for step in range(1, end + 4):
        factor = float(schedule(backend.xp, backend.xp.asarray(step, dtype=backend.dtype("float32"))))
        if step < warmup:
            expected = step / warmup
        elif step >= end:
            expected = final if end > warmup or step > end else 1.0
        else:
            expected = final + (1 - final) * (1 + math.cos(math.pi * (step - warmup) / (end - warmup))) / 2
        assert factor == pytest.approx(expected, abs=1e-6), f"step {step}"


def test_the_schedule_scales_the_step(backend: Backend) -> None:
    plain, scheduled = parameters(), parameters()
    before = [host(p).copy() for p in plain]
    take_steps(SGD(plain, lr=0.5), 1, 1)
    take_steps(SGD(scheduled, lr=0.5, schedule=WarmupCosine(4, 10)), 1, 1)
    for whole, quarter, old in zip(plain, scheduled, before, strict=True):
        numpy.testing.assert_allclose(host(quarter) - old, (host(whole) - old) / 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (SGD, {"lr": -1.0}),
        (SGD, {"lr": math.nan}),
        (SGD, {"max_norm": 0.0}),
        (SGD, {"max_norm": math.nan}),
        (SGD, {"momentum": 1.0}),
        (SGD, {"weight_decay": -0.1}),
        (SGD, {"weight_decay": math.nan}),
        (SGD, {"nesterov": True}),
        (Adam, {"betas": (0.9, 1.0)}),
        (Adam, {"eps": -1.0}),
        (AdamW, {"weight_decay": math.nan}),
    ],
)
def test_numbers_out_of_range_are_refused(make: Callable[..., Optimizer], settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|momentum"):
        make(parameters(), **settings)


@pytest.mark.parametrize("arguments", [(5, 4), (-1, 4), (0, 0), (1, 4, 1.5)])
def test_schedules_out_of_range_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="got"):
        WarmupCosine(*arguments)


def test_no_parameters_and_one_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        SGD([])
    ours = parameters()
    with pytest.raises(ValueError, match="twice"):
        SGD([*ours, ours[0]])


def test_a_missing_gradient_is_told_and_nothing_moves(backend: Backend) -> None:
    ours = parameters()
    optimizer = SGD(ours, lr=1.0)
    ours[0].grad = tt.ones(ours[0].shape, dtype="float64")
    with pytest.raises(RuntimeError, match="2 of 3 parameters have no gradient"):
        optimizer.step()
    assert optimizer.steps == 0
    optimizer.zero_grad()
    assert ours[0].grad is None


def test_state_left_behind_on_another_backend_is_told() -> None:
    pytest.importorskip("array_api_strict", reason="the other backend here, array-api-strict, is not installed")
    with tt.use_backend("numpy"):
        model = nn.Linear(2, 2)
        optimizer = Adam(model.parameters())
        for parameter in model.parameters():
            parameter.grad = tt.ones(parameter.shape)
        optimizer.step()
    model.to("strict")
    with tt.use_backend("strict"):
        for parameter in model.parameters():
            parameter.grad = tt.ones(parameter.shape)
    with pytest.raises(RuntimeError, match=r"make a new one after model\.to"):
        optimizer.step()
