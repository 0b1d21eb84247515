"""Reductions that are not in the table of calls: many 16-bit numbers, and too few elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen, host
from tinytorch import linalg, nn
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

# ---- 16 bits: float16 overflows above 65504 and cannot count beyond 2048 ----

MANY = 70_000


@pytest.fixture
def half(backend: Backend) -> Callable[..., Tensor]:
    """A function that creates constant float16 Tensors."""
    if "float16" not in backend.capabilities.dtypes:
        pytest.skip(f"{backend.name} has no float16")
    return lambda shape, value=1.0: tt.full(shape, value, dtype="float16")


GRADIENTS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "mean": (tt.mean, 1 / MANY),
    "mean over axis 0": (lambda x: tt.sum(tt.mean(tt.reshape(x, (MANY, 1)), axis=0)), 1 / MANY),
    "equal maxima": (tt.max, 1 / MANY),
    "equal minima": (tt.min, 1 / MANY),
    "inf-norm of equal elements": (lambda x: linalg.vector_norm(x, ord=math.inf), 1 / MANY),
    "2-norm": (linalg.vector_norm, 1 / math.sqrt(MANY)),
    "3-norm": (lambda x: linalg.vector_norm(x, ord=3), MANY ** (-2 / 3)),
    "sum over an integer": (lambda x: tt.sum(x * 0.5) / MANY, 0.5 / MANY),
    "sum over a float": (lambda x: tt.sum(x * 0.5) / float(MANY), 0.5 / MANY),
    "mean squared error": (lambda x: nn.MSELoss()(x, x.detach() * 0.0), 2 / MANY),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_small_gradients_of_float16_reductions_do_not_underflow(half: Callable[..., Tensor], name: str) -> None:
    function, expected = GRADIENTS[name]
    actual = host(tt.grad(function)(half(MANY)))
    assert actual.dtype == numpy.float16
    numpy.testing.assert_allclose(actual[[0, -1]], expected, rtol=4e-3)
    along = tt.jvp(function, (half(MANY),), (half(MANY),))[1]
    assert float(along) == pytest.approx(expected * MANY, rel=4e-3)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tt.sum(x * 1e-3, axis=0), 70),
        (lambda x: tt.sum(x * 1e-3, axis=0, dtype=tt.float16), 70),
        (lambda x: tt.cumulative_sum(x * 1e-3, axis=0)[-1, ...], 70),
        (lambda x: tt.mean(x, axis=0), 1),
        (lambda x: tt.var(x, axis=0), 0),
        (lambda x: tt.std(x * 300, axis=0), 0),
        (lambda x: tt.prod(tt.asarray([[300.0] * 2, [300.0] * 2, [1e-3] * 2], dtype="float16"), axis=0), 90),
        (lambda x: linalg.vector_norm(x, axis=0), math.sqrt(MANY)),
        (lambda x: linalg.vector_norm(x * 300, axis=0, ord=4), 300 * MANY**0.25),
    ],
)
def test_16_bit_sums_accumulate_in_float32(half: Callable[..., Tensor], function: Callable[[Tensor], Tensor], expected: float) -> None:
    """Along the first axis, where numpy adds row by row without pairwise summation."""
    actual = function(half((MANY, 2)))
    assert_close(actual, numpy.full(2, expected, numpy.float16), rtol=4e-3, atol=1e-3)


def test_16_bit_gradients_accumulate_in_float32(half: Callable[..., Tensor]) -> None:
    count = 5000
    row, zeros = half((1, 6)), tt.zeros(count, dtype=tt.current_backend().default_int)
    for function in (
        lambda x: x * half((count, 1)),
        lambda x: tt.take(x, zeros, axis=0),
        lambda x: tt.repeat(x, count, axis=0),
        lambda x: tt.tile(x, (count, 1)),
        lambda x: x[zeros, zeros][:, None] * half((1, 6)) / 6,
    ):
        gradient = host(tt.grad(lambda x, f=function: tt.sum(f(x)))(row))
        numpy.testing.assert_allclose(gradient.sum(), count * 6 if gradient.all() else count, rtol=2e-3)


def test_16_bit_variance_uses_a_float32_mean(half: Callable[..., Tensor]) -> None:
    """float16 cannot represent the mean 1001.25: its spacing there is 0.5."""
    x = numpy.float16([1000, 1001, 1002, 1002])
    for function, wide in ((tt.var, numpy.var), (tt.std, numpy.std)):
        assert float(function(frozen(x))) == pytest.approx(float(wide(x.astype(numpy.float64))), rel=1e-3)
    assert_close(tt.grad(tt.var)(frozen(x)), numpy.float16([-0.625, -0.125, 0.375, 0.375]), rtol=1e-3)


# ---- too few elements ----


@pytest.mark.parametrize("function", [tt.var, tt.std])
@pytest.mark.parametrize(("count", "correction"), [(1, 1), (2, 2), (2, 2.5), (3, 7)])
def test_the_variance_is_nan_if_the_correction_is_not_less_than_the_number_of_elements(
    backend: Backend, function: Callable[..., Tensor], count: int, correction: float
) -> None:
    x = frozen(numpy.arange(1.0, count + 1))
    value, gradient = tt.value_and_grad(lambda x: function(x, correction=correction))(x)
    assert_close(value, numpy.float64(numpy.nan))
    assert_close(gradient, numpy.full(count, numpy.nan))
    assert numpy.isnan(host(tt.hessian(lambda x: function(x, correction=correction))(x))).all()


EMPTY: dict[str, Callable[[Tensor], Any]] = {
    "sum": tt.sum,
    "prod": tt.prod,
    "var": tt.var,
    "std": tt.std,
    "var of columns": lambda x: tt.var(x, axis=0),
    "std of rows": lambda x: tt.std(x, axis=1, correction=1),
    "norm": linalg.vector_norm,
    "3-norm": lambda x: linalg.vector_norm(x, ord=3),
    "1-norm of rows": lambda x: linalg.vector_norm(x, axis=1, ord=1),
    "max of rows": lambda x: tt.max(x, axis=1),
    "cumulative_sum": lambda x: tt.cumulative_sum(x, axis=0),
    "cumulative_prod": lambda x: tt.cumulative_prod(x, axis=0),
    "sort": lambda x: tt.sort(x, axis=0),
    "softmax": lambda x: tt.ops.softmax(x, axis=-1),
    "softmax over no elements": lambda x: tt.ops.softmax(x, axis=0),
    "attention of no positions": lambda x: _attention(x[None, ...]),
    "attention of no sequences": lambda x: _attention(tt.stack([x, x], axis=1)),
    "layer_norm": lambda x: tt.ops.layer_norm(x, tt.ones(3, dtype="float64"), tt.zeros(3, dtype="float64"), eps=1e-5),
    "linear": lambda x: tt.ops.linear(x, tt.ones((2, 3), dtype="float64"), None),
    "gelu": lambda x: tt.ops.gelu(x, approximate="tanh"),
    "cross_entropy": lambda x: tt.ops.cross_entropy(x, tt.zeros(0, dtype="int64"), ignore_index=-100, label_smoothing=0.1),
}


def _attention(x: Tensor) -> Tensor:
    """Self-attention of x (B, T, 3)."""
    return tt.ops.attention(x, x, x, None, None, num_heads=1, causal=True, p=0.0, site=0)


@pytest.mark.parametrize("name", EMPTY)
def test_the_gradient_of_an_empty_array_is_empty(backend: Backend, name: str) -> None:
    x, function = frozen(numpy.zeros((0, 3))), EMPTY[name]
    assert_close(tt.grad(lambda x: tt.sum(function(x)))(x), numpy.zeros((0, 3)))
    assert_close(tt.hvp(lambda x: tt.sum(function(x) ** 2), (x,), (x,))[0], numpy.zeros((0, 3)))


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_the_mean_of_an_empty_array_is_nan_and_its_gradient_empty(backend: Backend) -> None:
    value, gradient = tt.value_and_grad(tt.mean)(frozen(numpy.zeros((0, 3))))
    assert numpy.isnan(host(value))
    assert_close(gradient, numpy.zeros((0, 3)))


def test_booleans_are_counted(backend: Backend) -> None:
    """As in numpy and PyTorch; the standard leaves their sum undefined."""
    x = tt.asarray([[True, False, True], [False, False, True]])
    assert tt.sum(x).item() == 3
    assert tt.sum(x, axis=1).tolist() == [2, 1]
    assert tt.sum(x).dtype == tt.sum(tt.asarray([1, 2])).dtype
