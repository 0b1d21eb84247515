"""No implicit transfers between host and device: array code and a training step run with transfers forbidden."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest

import tinytorch as tt
from tinytorch import nn, optim
from tinytorch.backend import Array, Backend
from tinytorch.models import TinyGPT
from tinytorch.nn import PRECISIONS, Precision
from tinytorch.ops import random
from tinytorch.training import Trainer
from tinytorch.training.engine import Engine
from tinytorch.training.language_model import next_token_logits
from tinytorch.training.scaling import FIRST_SCALING
from tinytorch.training.state import METRICS_ROWS


class ForbiddenTransferError(AssertionError):
    """An array was transferred between the host and a device."""


def forbid_transfers(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> Array:
        raise ForbiddenTransferError

    monkeypatch.setattr(backend, "to_host", refuse)
    monkeypatch.setattr(backend, "from_host", refuse)


@pytest.fixture
def device() -> Backend:
    """A device that is neither the host nor the current one."""
    return tt.get_backend("strict:device1")


@pytest.fixture
def no_transfers(device: Backend, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after whose call transfers to or from that device raise."""

    return lambda: forbid_transfers(device, monkeypatch)


def test_a_transfer_raises(device: Backend, no_transfers: Callable[[], None]) -> None:
    x = tt.ones(2, device=device)
    no_transfers()
    with pytest.raises(ForbiddenTransferError):
        x.numpy()


def test_array_code_and_its_derivatives_stay_on_the_device(device: Backend, no_transfers: Callable[[], None]) -> None:
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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_training_step_makes_no_transfers(backend: Backend, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend.lacks_precision(precision) is not None:
        pytest.skip(f"{backend.spec} cannot compute in {precision}")
    model = TinyGPT(7, d_model=8, num_heads=2, num_layers=1, max_length=4, dropout=0.1)
    optimizer = optim.AdamW(model.parameters(), max_norm=1.0, schedule=optim.WarmupCosine(2, 10))
    chosen = Precision(precision, backend)
    engine = Engine(model, optimizer, next_token_logits, nn.LanguageModelLoss(), chosen, 1, FIRST_SCALING, random.key())
    ids = tt.asarray([[1, 2, 3, 4, 5], [6, 5, 4, 3, 2]])
    forbid_transfers(backend, monkeypatch)
    for _ in range(2):
        engine.step((ids.raw,))
    assert all(backend.owns(array) for array in engine.state)


def test_training_reads_from_the_device_once_for_many_steps(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(2, 1)
    trainer = Trainer(model, optim.SGD(model.parameters()), nn.MSELoss())
    reads = 0
    to_host = backend.to_host

    def counted(array: Array) -> object:
        nonlocal reads
        reads += 1
        return to_host(array)

    monkeypatch.setattr(backend, "to_host", counted)
    batch = numpy.ones((4, 2), "float32"), numpy.ones((4, 1), "float32")
    trainer.fit(lambda: batch, 2 * METRICS_ROWS)
    assert reads <= 2 * 3  # the metrics buffer, whether all values are finite, the step number
