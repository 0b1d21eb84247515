"""Pooling and relu, compared with PyTorch, including ties, infinities and NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen
from tinytorch import ops
from tinytorch.backend import Backend
from tinytorch.ops import portable_kernels

Pair = tuple[int, int]

#: Image size, kernel size, stride and padding.
WINDOWS = [
    ((6, 6), (2, 2), (2, 2), (0, 0)),
    ((7, 5), (2, 2), (2, 2), (0, 0)),  # incomplete windows at the border
    ((7, 6), (3, 2), (1, 1), (1, 1)),  # overlapping windows
    ((8, 9), (2, 3), (3, 4), (1, 0)),  # gaps between windows
    ((4, 5), (4, 5), (1, 1), (0, 0)),
    ((3, 3), (1, 1), (1, 1), (0, 0)),
]


def normal(*shape: int, seed: int = 0) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).normal(size=shape)


def ties(*shape: int) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(1).integers(0, 3, shape).astype("float64")


def both(function: Any, x: Any, g: Any) -> list[tuple[Any, Any]]:
    """Results and gradients of the kernel of the backend and of the portable implementation."""

    def loss(x: Any) -> Any:
        out = function(x)
        return tt.sum(out * frozen(g)), out

    gradient = tt.grad(loss, has_aux=True)
    kernel = gradient(frozen(x))
    with portable_kernels():
        return [kernel, gradient(frozen(x))]


@pytest.mark.parametrize("values", [normal, ties], ids=["normal", "ties"])
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(("size", "kernel_size", "stride", "padding"), WINDOWS)
def test_values_and_gradients_agree_with_pytorch(
    backend: Backend, kind: str, size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, values: Any
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference for this test")
    x = values(2, 3, *size)
    peer = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, f"{kind}_pool2d")(peer, kernel_size, stride, padding)
    g = normal(*expected.shape, seed=2)
    expected.backward(torch.tensor(g))
    ours = getattr(ops, f"{kind}_pool2d")
    for gradient, out in both(lambda x: ours(x, kernel_size=kernel_size, stride=stride, padding=padding), x, g):
        assert_close(out, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
        assert_close(gradient, peer.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_the_first_of_equal_elements_gets_the_gradient(backend: Backend) -> None:
    x = numpy.zeros((1, 1, 2, 2))
    for gradient, _ in both(lambda x: ops.max_pool2d(x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)), x, [[[[3.0]]]]):
        assert_close(gradient, numpy.float64([[[[3, 0], [0, 0]]]]))


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [((2, 2), (2, 2), (1, 1)), ((3, 2), (1, 1), (1, 1)), ((4, 4), (3, 3), (2, 1))]
)
def test_in_a_window_of_minus_infinity_the_first_element_of_the_image_gets_the_gradient(
    backend: Backend, kernel_size: Pair, stride: Pair, padding: Pair
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference for this test")
    x = normal(2, 2, 5, 5)
    x[0] = -math.inf
    x[1, :, :3, :3] = -math.inf
    peer = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.max_pool2d(peer, kernel_size, stride, padding)
    g = normal(*expected.shape, seed=2)
    expected.backward(torch.tensor(g))

    def gradient(g: tt.Tensor) -> tt.Tensor:
        out, vjp_fn = tt.vjp(lambda x: ops.max_pool2d(x, kernel_size=kernel_size, stride=stride, padding=padding), frozen(x))
        assert_close(out, expected.detach().numpy())
        return vjp_fn(g)[0]  # type: ignore[no-any-return]

    with portable_kernels():
        portable = gradient(frozen(g))
    recorded, _ = tt.vjp(gradient, frozen(g))  # differentiates the portable forward
    for found in (gradient(frozen(g)), portable, recorded):
        assert_close(found, peer.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("index", [0, 1, 3])
def test_nan_is_the_maximum(backend: Backend, index: int) -> None:
    x = numpy.arange(4.0)
    x[index] = math.nan
    pool = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    for gradient, out in both(lambda x: ops.max_pool2d(x, **pool), x.reshape(1, 1, 2, 2), [[[[1.0]]]]):
        assert_close(out, numpy.float64([[[[math.nan]]]]))
        assert_close(gradient, numpy.eye(4)[index].reshape(1, 1, 2, 2))


def test_padding_is_never_the_maximum(backend: Backend) -> None:
    x = numpy.full((1, 1, 2, 2), -5.0)
    for _, out in both(lambda x: ops.max_pool2d(x, kernel_size=(2, 2), stride=(1, 1), padding=(1, 1)), x, numpy.ones((1, 1, 3, 3))):
        assert_close(out, numpy.full((1, 1, 3, 3), -5.0))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_first_and_second_derivatives_agree_with_finite_differences(backend: Backend, name: str) -> None:
    pool = {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)}
    check_gradients(lambda x: tt.tanh(getattr(ops, name)(x, **pool)), normal(2, 2, 5, 4))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_a_batch_may_be_empty(backend: Backend, name: str) -> None:
    pool = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    gradient = tt.grad(lambda x: tt.sum(getattr(ops, name)(x, **pool)))(frozen(normal(0, 3, 4, 4)))
    assert tuple(gradient.shape) == (0, 3, 4, 4)


def test_float16_is_averaged_in_float32() -> None:
    with tt.use_backend("numpy"):
        pool = {"kernel_size": (64, 64), "stride": (64, 64), "padding": (0, 0)}
        out = ops.avg_pool2d(tt.ones((1, 1, 64, 64), dtype="float16"), **pool)
        assert_close(out, numpy.ones((1, 1, 1, 1), numpy.float16))


def test_the_gradient_of_relu_is_zero_for_nonpositive_inputs(backend: Backend) -> None:
    x = numpy.float64([-math.inf, -1.0, -0.0, 0.0, 2.0, math.inf])
    g = numpy.float64([math.inf, math.nan, math.inf, math.nan, 3.0, math.inf])

    def gradient() -> Any:
        y = frozen(x, requires_grad=True)
        ops.relu(y).backward(frozen(g))
        return y.grad

    expected = numpy.float64([0, 0, 0, 0, 3, math.inf])
    assert_close(gradient(), expected)
    with portable_kernels():
        assert_close(gradient(), expected)
