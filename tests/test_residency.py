"""A Tensor never leaves its device unasked: with transfers forbidden, array code and a whole training step still run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tinytorch as tt
from tinytorch import nn, optim
from tinytorch.backend import Array, Backend
from tinytorch.models import TinyGPT
from tinytorch.training.state import RING, TrainState
from tinytorch.training.step import make_step


class Forbidden(AssertionError):
    """Something was moved between the host and a device."""


@pytest.fixture
def device() -> Backend:
    """A device that is not the host's, nor the chosen one."""
    return tt.get_backend("strict:device1")


@pytest.fixture
def no_transfers(device: Backend, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and moving anything to or from that device raises."""

    def refuse(*args: object, **options: object) -> Array:
        raise Forbidden("a transfer")

    def forbid() -> None:
        monkeypatch.setattr(device, "to_host", refuse)
        monkeypatch.setattr(device, "from_host", refuse)

    return forbid


def test_the_ban_is_seen(device: Backend, no_transfers: Callable[[], None]) -> None:
    x = tt.ones(2, device=device)
    no_transfers()
    with pytest.raises(Forbidden):
        x.numpy()


def test_array_code_and_its_derivatives_stay(device: Backend, no_transfers: Callable[[], None]) -> None:
    x = tt.asarray([[0.5, -1.0], [2.0, 1.5]], device=device)
    no_transfers()
    xp = x.__array_namespace__()

    def function(x: tt.Tensor) -> tt.Tensor:
        y = xp.sort(xp.concat([x, xp.ones((1, 2))]), axis=0)
        y[0, ...] = xp.where(y[1, ...] > 0, y[1, ...], xp.asarray(xp.zeros(2)))
        return xp.sum(xp.linalg.inv(x) @ x[::-1, ...]) + xp.std(y) + xp.max(xp.take(x, xp.arange(2), axis=1))

    for derivative in (tt.grad(function), tt.grad(lambda x: xp.sum(tt.grad(function)(x)))):
        assert derivative(x).backend is device
    assert tt.jvp(function, (x,), (x,))[1].backend is device


def test_a_training_step_stays(device: Backend, no_transfers: Callable[[], None]) -> None:
    with tt.use_backend(device):
        model = TinyGPT(7, d_model=8, num_heads=2, num_layers=1, max_length=4, dropout=0.1)
        optimizer = optim.AdamW(model.parameters(), max_norm=1.0, schedule=optim.WarmupCosine(2, 10))
        ids = tt.asarray([[1, 2, 3, 4, 5], [6, 5, 4, 3, 2]])
    params = [parameter.raw for parameter in model.parameters()]
    xp = device.xp
    ring = xp.zeros((RING, 3), dtype=device.dtype("float32"))
    numbers = [tt.asarray(value, dtype=dtype, device=device).raw for value, dtype in [(0, "int32"), (1e-3, "float32"), ([5], "int32")]]
    state = TrainState(params, [], optimizer.current_state(device, params), *numbers, ring)
    step = make_step(model, lambda model, batch: model(batch[0][:, :-1]), nn.LanguageModelLoss(), optimizer, device, state, 1)
    no_transfers()
    new, (loss,) = step(state.flatten(), (ids.raw,))
    assert device.owns(loss)
    assert all(device.owns(array) for array in new)
