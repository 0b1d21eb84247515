"""Optimizers: `step` equals PyTorch's, parameter groups, schedules, skipped parameters, dtypes and errors."""

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
from tinytorch.optim import SGD, Adam, AdamW, Optimizer, WarmupCosine, weight_decay_groups

SHAPES = [(3, 4), (4,), (2, 1, 2)]

LEARNING_RATE = 0.015  # not exact in float32


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


OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], str, dict[str, Any]]] = {
    "sgd": (SGD, "SGD", {}),
    "sgd decay": (SGD, "SGD", {"weight_decay": 0.1}),
    "momentum": (SGD, "SGD", {"momentum": 0.9}),
    "nesterov": (SGD, "SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (Adam, "Adam", {}),
    "adam decay": (Adam, "Adam", {"weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-6}),
    "adamw": (AdamW, "AdamW", {"weight_decay": 0.1}),
}


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_match_pytorch(backend: Backend, name: str, max_norm: float | None) -> None:
    torch = pytest.importorskip("torch", reason="this test compares with PyTorch, which is not installed")
    optimizer_class, torch_name, settings = OPTIMIZERS[name]
    ours = parameters()
    theirs = [torch.nn.Parameter(torch.tensor(host(p))) for p in ours]
    their_optimizer = getattr(torch.optim, torch_name)(theirs, lr=LEARNING_RATE, **settings)
    optimizer = optimizer_class(ours, lr=LEARNING_RATE, max_norm=max_norm, **settings)
    for step in range(1, 21):
        for p, gradient in zip(theirs, gradients(step), strict=True):
            p.grad = torch.tensor(gradient)
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs, max_norm)
        their_optimizer.step()
    take_steps(optimizer, 1, 20)
    assert optimizer.steps == 20
    for parameter, p in zip(ours, theirs, strict=True):
        numpy.testing.assert_allclose(host(parameter), p.detach().numpy(), rtol=1e-9 if max_norm else 1e-12)  # PyTorch adds 1e-6 to norms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [SGD, lambda p: SGD(p, momentum=0.9), Adam, AdamW], ids=["sgd", "momentum", "adam", "adamw"])
def test_every_parameter_is_updated_against_its_gradient(backend: Backend, make: Callable[..., Optimizer], dtype: str) -> None:
    ours = parameters(dtype)
    before = [host(p).copy() for p in ours]
    take_steps(make(ours), 1, 1, dtype)
    for parameter, old, gradient in zip(ours, before, gradients(1, dtype), strict=True):
        assert parameter.dtype.name == dtype
        assert numpy.all(numpy.sign(host(parameter) - old) == -numpy.sign(gradient))


def test_a_step_does_not_change_gradients_and_detached_values(backend: Backend) -> None:
    ours = parameters()
    held = [p.detach() for p in ours]
    before = [host(tensor).copy() for tensor in held]
    take_steps(Adam(ours, max_norm=0.1), 1, 1)
    for parameter, tensor, old, gradient in zip(ours, held, before, gradients(1), strict=True):
        assert parameter.grad is not None
        numpy.testing.assert_array_equal(host(parameter.grad), gradient)
        numpy.testing.assert_array_equal(host(tensor), old)


def measured_weight_decay(optimizer: Optimizer) -> list[float]:
    """The weight decay of each parameter, measured by a step with zero gradients."""
    before = [host(p).copy() for p in optimizer.parameters]
    for parameter in optimizer.parameters:
        parameter.grad = tt.zeros(parameter.shape, dtype="float64")
    optimizer.step()
    return [float((1 - host(p) / old).mean() / LEARNING_RATE) for p, old in zip(optimizer.parameters, before, strict=True)]


def test_adamw_applies_weight_decay_to_all_parameters_as_in_pytorch(backend: Backend) -> None:
    assert measured_weight_decay(AdamW(parameters(), lr=LEARNING_RATE, weight_decay=0.5)) == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize("make", [AdamW, SGD])
def test_a_parameter_group_sets_its_own_weight_decay(backend: Backend, make: Callable[..., Optimizer]) -> None:
    first, second, third = parameters()
    groups = [{"params": [third, first], "weight_decay": 0.25}, {"params": second}]
    optimizer = make(groups, lr=LEARNING_RATE, weight_decay=0.5)
    assert all(a is b for a, b in zip(optimizer.parameters, [third, first, second], strict=True))
    assert measured_weight_decay(optimizer) == pytest.approx([0.25, 0.25, 0.5])


def test_weight_decay_groups_exclude_1d_parameters(backend: Backend) -> None:
    optimizer = AdamW(weight_decay_groups(parameters(), 0.5), lr=LEARNING_RATE)
    assert [p.ndim for p in optimizer.parameters] == [2, 3, 1]
    assert measured_weight_decay(optimizer) == pytest.approx([0.5, 0.5, 0.0])


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ([{"params": [], "lr": 0.1}], TypeError, r'"params" and may have "weight_decay", got .*lr'),
        ([{"weight_decay": 0.1}], TypeError, '"params"'),
        ([{"params": [1.0]}], TypeError, "got one of type float"),
        (["weight"], TypeError, "got one of type str"),
        ({"params": []}, TypeError, "put it in a list"),
    ],
)
def test_bad_parameter_groups_raise(argument: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SGD(argument)
    with pytest.raises(ValueError, match=r"must not be negative, got -0\.1"):
        SGD([{"params": parameters(), "weight_decay": -0.1}])
    with pytest.raises(TypeError, match="not both"):
        SGD([*parameters(), {"params": parameters()}])
    with pytest.raises(TypeError, match="put it in a list"):
        SGD(parameters()[0])  # type: ignore[arg-type]


def test_clipping_uses_the_norm_of_all_gradients_together(backend: Backend) -> None:
    ours = parameters()
    before = [host(p).copy() for p in ours]
    take_steps(SGD(ours, lr=1.0, max_norm=0.5), 1, 1)
    moved = numpy.concatenate([(host(p) - old).ravel() for p, old in zip(ours, before, strict=True)])
    gradient = numpy.concatenate([g.ravel() for g in gradients(1)])
    assert numpy.linalg.norm(moved) == pytest.approx(0.5, rel=1e-5)
    numpy.testing.assert_allclose(moved / numpy.linalg.norm(moved), -gradient / numpy.linalg.norm(gradient), rtol=1e-6)


@pytest.mark.parametrize("settings", [(4, 10, 0.1), (0, 5, 0.0), (3, 3, 0.5)])
def test_warmup_cosine_follows_its_formula(backend: Backend, settings: tuple[int, int, float]) -> None:
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


def test_the_schedule_scales_the_learning_rate(backend: Backend) -> None:
    plain, scheduled = parameters(), parameters()
    before = [host(p).copy() for p in plain]
    take_steps(SGD(plain, lr=0.5), 1, 1)
    take_steps(SGD(scheduled, lr=0.5, schedule=WarmupCosine(4, 10)), 1, 1)
    for full, quarter, old in zip(plain, scheduled, before, strict=True):
        numpy.testing.assert_allclose(host(quarter) - old, (host(full) - old) / 4, rtol=1e-6)


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
def test_settings_out_of_range_raise(make: Callable[..., Optimizer], settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|momentum"):
        make(parameters(), **settings)


@pytest.mark.parametrize("arguments", [(5, 4), (-1, 4), (0, 0), (1, 4, 1.5)])
def test_schedule_settings_out_of_range_raise(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="got"):
        WarmupCosine(*arguments)


def test_no_parameters_or_a_duplicate_raise() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        SGD([])
    ours = parameters()
    with pytest.raises(ValueError, match="listed twice"):
        SGD([*ours, ours[0]])


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("name", ["nesterov", "adam decay", "adamw"])
def test_parameters_without_a_gradient_are_skipped_as_in_pytorch(backend: Backend, name: str, max_norm: float | None) -> None:
    """The parameters have gradients in different steps, so their bias corrections in Adam differ."""
    torch = pytest.importorskip("torch", reason="this test compares with PyTorch, which is not installed")
    optimizer_class, torch_name, settings = OPTIMIZERS[name]
    ours = parameters()
    theirs = [torch.nn.Parameter(torch.tensor(host(p))) for p in ours]
    their_optimizer = getattr(torch.optim, torch_name)(theirs, lr=LEARNING_RATE, **settings)
    optimizer = optimizer_class(ours, lr=LEARNING_RATE, max_norm=max_norm, **settings)
    for step in range(1, 9):
        grads = [gradient if step % (i + 1) == 0 else None for i, gradient in enumerate(gradients(step))]
        for parameter, p, gradient in zip(ours, theirs, grads, strict=True):
            parameter.grad = None if gradient is None else tt.asarray(gradient)
            p.grad = None if gradient is None else torch.tensor(gradient)
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs, max_norm)
        their_optimizer.step()
        optimizer.step()
    for parameter, p in zip(ours, theirs, strict=True):
        numpy.testing.assert_allclose(host(parameter), p.detach().numpy(), rtol=1e-9)
    assert [optimizer.state[p].steps for p in ours] == [8, 4, 2]


def test_a_step_without_any_gradient_raises(backend: Backend) -> None:
    ours = parameters()
    optimizer = SGD(ours, lr=1.0)
    with pytest.raises(RuntimeError, match=r"no parameter has a gradient; call loss\.backward\(\)"):
        optimizer.step()
    assert optimizer.steps == 0
    take_steps(optimizer, 1, 1)
    optimizer.zero_grad()
    assert all(p.grad is None for p in ours)


def test_a_frozen_parameter_with_a_gradient_is_not_changed(backend: Backend) -> None:
    ours = parameters()
    optimizer = AdamW(ours, lr=LEARNING_RATE, weight_decay=0.1)
    take_steps(optimizer, 1, 2)
    before = [host(p).copy() for p in ours]
    ours[1].requires_grad = False
    take_steps(optimizer, 3, 4)
    assert [numpy.array_equal(host(p), old) for p, old in zip(ours, before, strict=True)] == [False, True, False]


@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_keeps_its_dtype(backend: Backend, name: str, max_norm: float | None) -> None:
    """One optimizer may have parameters of different dtypes; float64 parameters get a float64 learning rate."""
    types = [dtype for dtype in ("float64", "float32", "float16") if dtype in backend.capabilities.dtypes]
    optimizer_class, _, settings = OPTIMIZERS[name]
    starts = numpy.random.default_rng(3).normal(size=(len(types), 5))
    ours = [nn.Parameter(start.astype(dtype)) for start, dtype in zip(starts, types, strict=True)]
    alone = nn.Parameter(starts[0])
    mixed, single = optimizer_class(ours, lr=0.1, **settings), optimizer_class([alone], lr=0.1, **settings)
    mixed.max_norm = max_norm
    for step in (1, 2):
        gradient = gradients(step)[1]
        for p in ours:
            p.grad = tt.asarray(gradient.astype(p.dtype.name)[[0, 1, 2, 3, 0]])
        alone.grad = tt.asarray(gradient[[0, 1, 2, 3, 0]])
        mixed.step()
        single.step()
        assert [p.dtype.name for p in ours] == types
        for p in ours:
            assert [backend.dtype_of(array) for array in mixed.state[p].arrays] == [p.dtype for _ in mixed.slots()]
    if max_norm is None:
        numpy.testing.assert_allclose(host(ours[0]), host(alone), rtol=1e-14)
        for p, start in zip(ours[1:], starts[1:], strict=True):
            rounding = 1e-6 if p.dtype.name == "float32" else 5e-3
            moved, exact = host(p) - start.astype(p.dtype.name), host(alone) - starts[0]
            if not settings.get("weight_decay"):
                numpy.testing.assert_allclose(moved, exact, rtol=20 * rounding, atol=2 * rounding)


def test_the_learning_rate_of_float64_parameters_is_float64(backend: Backend) -> None:
    parameter = nn.Parameter(numpy.ones(1))
    parameter.grad = tt.ones((1,), dtype="float64")
    SGD([parameter], lr=0.1).step()
    assert parameter.item() == 0.9


def test_moving_the_model_to_another_backend_after_a_step_raises() -> None:
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
    with pytest.raises(RuntimeError, match=r"create the optimizer after model\.to"):
        optimizer.step()
