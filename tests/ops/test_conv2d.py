"""Convolution, compared with PyTorch; `im2col` and its adjoint `col2im`."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen
from tinytorch import ops
from tinytorch.backend import Backend
from tinytorch.ops import col2im, im2col, portable_kernels

Pair = tuple[int, int]

#: Image size, kernel size, stride and padding.
WINDOWS = [
    ((6, 6), (3, 3), (1, 1), (0, 0)),
    ((7, 5), (2, 3), (1, 1), (1, 2)),
    ((8, 9), (5, 5), (2, 2), (2, 2)),
    ((9, 6), (3, 1), (2, 3), (0, 0)),  # incomplete windows at the border, and gaps between windows
    ((4, 5), (4, 5), (1, 1), (0, 0)),  # one window
    ((5, 4), (1, 1), (1, 1), (0, 0)),
]


def normal(*shape: int, seed: int = 0) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), WINDOWS)
def test_im2col_and_col2im_are_adjoint(backend: Backend, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> None:
    settings: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding}
    shape = (2, 3, *size)
    x = backend.from_host(normal(*shape))
    columns = im2col(backend.xp, x, **settings)
    y = backend.from_host(normal(*columns.shape, seed=1))
    image = col2im(backend.xp, y, shape, **settings)
    assert tuple(image.shape) == shape
    left = float(numpy.sum(backend.to_host(columns) * backend.to_host(y)))
    right = float(numpy.sum(backend.to_host(x) * backend.to_host(image)))
    assert left == pytest.approx(right, rel=1e-12)


def test_each_column_of_im2col_is_a_window(backend: Backend) -> None:
    x = normal(2, 3, 4, 5)
    columns = backend.to_host(im2col(backend.xp, backend.from_host(x), kernel=(2, 3), stride=(1, 2), padding=(0, 0)))
    windows = columns.reshape(3, 2, 3, 3, 2, 2)  # (C, kh, kw, Ho, Wo, N)
    numpy.testing.assert_array_equal(windows[..., 1, 1, 0], x[0, :, 1:3, 2:5])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), WINDOWS)
def test_values_and_gradients_agree_with_pytorch(
    backend: Backend, size: Pair, kernel: Pair, stride: Pair, padding: Pair, bias: bool
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference for this test")
    arrays = [normal(2, 3, *size), normal(4, 3, *kernel, seed=1), *([normal(4, seed=2)] if bias else [])]
    peers = [torch.tensor(x, requires_grad=True) for x in arrays]
    expected = torch.nn.functional.conv2d(*peers, stride=stride, padding=padding)
    g = normal(*expected.shape, seed=3)
    expected.backward(torch.tensor(g))

    def loss(x: Any, weight: Any, bias: Any = None) -> Any:
        out = ops.conv2d(x, weight, bias, stride=stride, padding=padding)
        return tt.sum(out * frozen(g)), out

    for use_kernel in (True, False):
        gradient = tt.grad(loss, tuple(range(len(arrays))), has_aux=True)
        inputs = [frozen(x) for x in arrays]
        if use_kernel:
            gradients, out = gradient(*inputs)
        else:
            with portable_kernels():
                gradients, out = gradient(*inputs)
        assert_close(out, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
        for ours, theirs in zip(gradients, peers, strict=True):
            assert_close(ours, theirs.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_first_and_second_derivatives_agree_with_finite_differences(backend: Backend) -> None:
    def layer(x: Any, weight: Any, bias: Any) -> Any:
        return tt.tanh(ops.conv2d(x, weight, bias, stride=(2, 1), padding=(1, 0)))

    check_gradients(layer, normal(2, 2, 5, 4), normal(3, 2, 3, 2, seed=1), normal(3, seed=2))


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_may_be_empty_or_have_one_example(backend: Backend, count: int) -> None:
    def loss(*inputs: Any) -> Any:
        out = ops.conv2d(*inputs, stride=(1, 1), padding=(1, 1))
        assert tuple(out.shape) == (count, 4, 6, 5)
        return tt.sum(out)

    arrays = [normal(count, 2, 6, 5), normal(4, 2, 3, 3), normal(4)]
    g_x, g_weight, g_bias = tt.grad(loss, (0, 1, 2))(*[frozen(x) for x in arrays])
    assert tuple(g_x.shape) == (count, 2, 6, 5)
    assert tuple(g_weight.shape) == (4, 2, 3, 3)
    assert_close(g_bias, numpy.full(4, 30.0 * count))


def test_float16_is_summed_in_float32() -> None:
    with tt.use_backend("numpy"):
        x = tt.ones((1, 1, 64, 64), dtype="float16")
        weight = tt.ones((1, 1, 64, 64), dtype="float16")
        out, slope = tt.value_and_grad(lambda w: tt.sum(ops.conv2d(x, w, None, stride=(1, 1), padding=(0, 0))))(weight)
        assert_close(out, numpy.float16(4096))  # a sum in float16 would stop at 2048
        assert_close(slope, numpy.ones((1, 1, 64, 64), numpy.float16))
