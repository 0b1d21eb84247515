"""Settings of operations may be NumPy scalars instead of Python numbers, for derivatives of every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen
from tinytorch import ops
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

ZERO, ONE, TWO = numpy.int64(0), numpy.int32(1), numpy.uint8(2)

SETTINGS: dict[str, Callable[[Tensor, Any, Any, Any], Tensor]] = {
    "sum": lambda x, zero, one, two: tt.sum(x, axis=one),
    "sum over a tuple": lambda x, zero, one, two: tt.sum(x, axis=(zero, one)),
    "mean": lambda x, zero, one, two: tt.mean(x, axis=zero, keepdims=True),
    "var": lambda x, zero, one, two: tt.var(x, axis=one, correction=one),
    "max": lambda x, zero, one, two: tt.max(x, axis=one),
    "prod": lambda x, zero, one, two: tt.prod(x, axis=one),
    "cumulative_prod": lambda x, zero, one, two: tt.cumulative_prod(x, axis=one),
    "vector_norm": lambda x, zero, one, two: tt.linalg.vector_norm(x, axis=one, ord=two),
    "tensordot": lambda x, zero, one, two: tt.tensordot(x, x, axes=((zero,), (zero,))),
    "expand_dims": lambda x, zero, one, two: tt.expand_dims(x, axis=two),
    "concat": lambda x, zero, one, two: tt.concat([x, x], axis=one),
    "take": lambda x, zero, one, two: tt.take(x, tt.asarray([0, 0]), axis=one),
    "sort": lambda x, zero, one, two: tt.sort(x, axis=zero),
    "diff": lambda x, zero, one, two: tt.diff(x, axis=zero),
    "roll": lambda x, zero, one, two: tt.roll(x, one, axis=zero),
    "repeat": lambda x, zero, one, two: tt.repeat(x, two, axis=zero),
    "reshape": lambda x, zero, one, two: tt.reshape(x, (one, two, one + two)),
    "an element": lambda x, zero, one, two: x[zero, one],
    "a slice": lambda x, zero, one, two: x[zero:two, one],
    "a diagonal": lambda x, zero, one, two: tt.linalg.diagonal(x, offset=one),
    "pow": lambda x, zero, one, two: x**two,
    "softmax": lambda x, zero, one, two: ops.softmax(x, axis=zero),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_may_be_a_numpy_scalar(backend: Backend, name: str) -> None:
    x, along = [frozen(numpy.float64(a)) for a in ([[1, -2, 3], [0.5, 4, -1]], [[1, 0, 2], [-1, 3, 1]])]
    results = []
    for numbers in [(0, 1, 2), (ZERO, ONE, TWO)]:
        weight = frozen(numpy.ones((2, 3)), requires_grad=True)

        def loss(x: Tensor, weight: Tensor = weight, numbers: Any = numbers) -> Tensor:
            return tt.sum(SETTINGS[name](x * weight, *numbers) ** 3)

        gradient = tt.grad(loss)(x)  # differentiable with respect to the weight
        tt.sum(gradient**2).backward()
        results.append([*tt.jvp(loss, (x,), (along,)), *tt.hvp(loss, (x,), (along,)), gradient, weight.grad])
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected)


def test_a_numpy_scalar_does_not_change_the_dtype_of_a_fused_operation(backend: Backend) -> None:
    x, weight = frozen(numpy.float32([[1, 2], [3, 5]])), frozen(numpy.float32([1, 1]))
    assert_close(ops.layer_norm(x, weight, weight, eps=numpy.float64(1e-5)), ops.layer_norm(x, weight, weight, eps=1e-5), rtol=1e-6)


def test_argnums_may_be_a_numpy_scalar(backend: Backend) -> None:
    x = frozen(numpy.float64([1, 2]))
    assert_close(tt.grad(lambda x: tt.sum(x * x), ZERO)(x), numpy.float64([2, 4]))
    assert_close(tt.jacobian(lambda y, x: x * y, numpy.int64(-1))(x, x), numpy.float64([[1, 0], [0, 2]]))
    assert_close(tt.hessian(lambda x: tt.sum(x * x), ZERO)(x), 2 * numpy.eye(2))
