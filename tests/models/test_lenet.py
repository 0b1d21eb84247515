"""LeNet-1 and LeNet-5: the shapes of the papers, parameter counts, and training steps that match PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, host
from tinytorch import nn
from tinytorch.backend import Backend
from tinytorch.models import LeNet1, LeNet5
from tinytorch.models.lenet import Image
from tinytorch.ops import portable_kernels, random
from tinytorch.optim import SGD
from tinytorch.tensor import Tensor

both_forms = pytest.mark.parametrize("classic", [False, True], ids=["modern", "classic"])


def images(count: int, image: Image, seed: int = 0) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).normal(size=(count, *image)).astype("float32")


# ---- shapes and parameter counts ----


def sizes(model: Any, image: Image) -> list[tuple[int, ...]]:
    """Channels, height and width after each convolution and pooling."""
    x: Tensor = tt.asarray(images(1, image))
    shapes = []
    for layer in model.features:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            shapes.append(tuple(x.shape[1:]))
    return shapes


@both_forms
@pytest.mark.parametrize(
    ("kind", "image", "expected"),
    [
        (LeNet1, (1, 28, 28), [(4, 24, 24), (4, 12, 12), (12, 8, 8), (12, 4, 4)]),  # H1 to H4 of the paper
        (LeNet1, (3, 32, 32), [(4, 28, 28), (4, 14, 14), (12, 10, 10), (12, 5, 5)]),
        (LeNet1, (1, 8, 8), [(4, 8, 8), (4, 4, 4), (12, 4, 4), (12, 2, 2)]),
        (LeNet5, (1, 32, 32), [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]),  # C1 to S4 of the paper
        (LeNet5, (1, 28, 28), [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]),
        (LeNet5, (1, 8, 8), [(6, 8, 8), (6, 4, 4), (16, 4, 4), (16, 2, 2)]),
        (LeNet5, (2, 32, 12), [(6, 32, 12), (6, 16, 6), (16, 12, 2), (16, 6, 1)]),
        (LeNet5, (1, 4, 4), [(6, 4, 4), (6, 2, 2), (16, 2, 2), (16, 1, 1)]),
    ],
)
def test_feature_maps_have_the_sizes_of_the_papers(
    backend: Backend, kind: type[LeNet1] | type[LeNet5], image: Image, expected: list[tuple[int, ...]], classic: bool
) -> None:
    model = kind(image, classic=classic)
    assert sizes(model, image) == expected
    assert tuple(model(images(2, image)).shape) == (2, 10)


@both_forms
@pytest.mark.parametrize(
    ("kind", "image", "expected"),
    [
        (LeNet1, (1, 28, 28), (4 * 25 + 4) + (12 * 4 * 25 + 12) + (192 * 10 + 10)),
        (LeNet1, (3, 32, 32), (4 * 75 + 4) + (12 * 4 * 25 + 12) + (300 * 10 + 10)),
        (LeNet1, (1, 8, 8), (4 * 25 + 4) + (12 * 4 * 25 + 12) + (48 * 10 + 10)),
        (LeNet5, (1, 32, 32), 61_706),
        (LeNet5, (1, 28, 28), 61_706),
        (LeNet5, (3, 32, 32), (6 * 75 + 6) + (16 * 150 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)),
        (LeNet5, (1, 8, 8), (6 * 25 + 6) + (16 * 150 + 16) + (64 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)),
    ],
)
def test_parameter_counts(backend: Backend, kind: type[LeNet1] | type[LeNet5], image: Image, expected: int, classic: bool) -> None:
    assert kind(image, classic=classic).count_parameters() == expected


@both_forms
def test_the_classic_form_has_tanh_and_average_pooling(backend: Backend, classic: bool) -> None:
    kinds = {type(module) for module in LeNet5(classic=classic).modules()}
    assert kinds >= ({nn.Tanh, nn.AvgPool2d} if classic else {nn.ReLU, nn.MaxPool2d})
    assert not kinds & ({nn.ReLU, nn.MaxPool2d} if classic else {nn.Tanh, nn.AvgPool2d})


@pytest.mark.parametrize("kind", [LeNet1, LeNet5])
@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_may_have_0_or_1_images(backend: Backend, kind: type[LeNet1] | type[LeNet5], count: int) -> None:
    model = kind((1, 8, 8), classes=3)
    logits = model(images(count, (1, 8, 8)))
    assert tuple(logits.shape) == (count, 3)
    tt.sum(logits).backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: LeNet5()(images(2, (1, 28, 28))),
            r"this LeNet5 expects images of shape \(3, 32, 32\), got \(1, 28, 28\); create the model with image=\(1, 28, 28\)",
        ),
        (lambda: LeNet1()(images(2, (1, 28, 28))[:, 0]), r"LeNet1 expects images \(N, C, H, W\), got shape \(2, 28, 28\)"),
        (lambda: LeNet1((28, 28)), r"LeNet1: image must be \(channels, height, width\) with at least 4 x 4 pixels, got \(28, 28\)"),  # type: ignore[arg-type]
        (lambda: LeNet5((1, 3, 9)), "at least 4 x 4 pixels"),
        (lambda: LeNet5(classes=0), "LeNet5: classes must be at least 1, got 0"),
    ],
)
def test_bad_arguments_raise(backend: Backend, call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ---- training ----


def pytorch_lenet5(torch: Any, classic: bool) -> Any:
    """LeNet-5 as usually written in PyTorch, with ReLU before the pooling."""
    layers = torch.nn

    def block(*sizes: int) -> list[Any]:
        return [
            layers.Conv2d(*sizes, 5),
            layers.Tanh() if classic else layers.ReLU(),
            layers.AvgPool2d(2) if classic else layers.MaxPool2d(2),
        ]

    def activation() -> Any:
        return layers.Tanh() if classic else layers.ReLU()

    dense = [layers.Linear(400, 120), activation(), layers.Linear(120, 84), activation(), layers.Linear(84, 10)]
    return layers.Sequential(*block(3, 6), *block(6, 16), layers.Flatten(), *dense)


@both_forms
@pytest.mark.parametrize("overrides", [True, False])
def test_five_training_steps_match_pytorch(backend: Backend, classic: bool, overrides: bool) -> None:
    torch = pytest.importorskip("torch", reason="this test compares with PyTorch, which is not installed")
    torch.set_num_threads(1)
    random.seed(0)
    model = LeNet5(classic=classic)
    theirs = pytorch_lenet5(torch, classic)
    with torch.no_grad():
        for their_parameter, parameter in zip(theirs.parameters(), model.parameters(), strict=True):
            their_parameter.copy_(torch.tensor(host(parameter).copy()))
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    their_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def loss_differences() -> list[float]:
        differences = []
        for step in range(5):
            x = images(8, (3, 32, 32), seed=step)
            labels = numpy.random.default_rng(step).integers(0, 10, 8)
            model.zero_grad()
            loss = loss_fn(model(x), labels)
            loss.backward()
            optimizer.step()
            their_optimizer.zero_grad()
            expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(labels))
            expected.backward()
            their_optimizer.step()
            differences.append(abs(float(loss.detach()) - expected.item()))
        return differences

    if overrides:
        differences = loss_differences()
    else:
        with portable_kernels():
            differences = loss_differences()
    assert max(differences) < 1e-4
    for parameter, their_parameter in zip(model.parameters(), theirs.parameters(), strict=True):
        assert_close(parameter.detach(), their_parameter.detach().numpy(), rtol=0, atol=1e-4)
