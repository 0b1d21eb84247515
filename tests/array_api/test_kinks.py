"""Points where the first derivative is a convention: it is finite in every mode, and the second derivative is NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen, host
from tinytorch import linalg
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

#: These tests compute infinite and undefined intermediate results on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")

INF = math.inf


def as_complex(x: Tensor) -> Tensor:
    """A complex Tensor with the two rows of x as real and imaginary parts."""
    return tt.astype(x[0, ...], tt.complex128) + tt.astype(x[1, ...], tt.complex128) * 1j


#: A function, a point, the gradient at the point, and the elements of the gradient that are not differentiable (1).
NO_SECOND: dict[str, tuple[Callable[[Tensor], Tensor], Any, Any, Any]] = {
    "norm squared": (lambda x: linalg.vector_norm(x) ** 2, [0, 0], [0, 0], [1, 1]),
    "Frobenius norm squared": (lambda x: linalg.matrix_norm(x) ** 2, [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]),
    "one of two zero vectors": (lambda x: tt.sum(linalg.vector_norm(x, axis=1)), [[0, 0], [3, 4]], [[0, 0], [0.6, 0.8]], [[1, 1], [0, 0]]),
    "hypot squared": (lambda x: tt.hypot(x[0], x[1]) ** 2, [0, 0], [0, 0], [1, 1]),
    "hypot": (lambda x: tt.hypot(x[0], x[1]), [0, 0], [0, 0], [1, 1]),
    "standard deviation squared": (lambda x: tt.std(x) ** 2, [2, 2, 2], [0, 0, 0], [1, 1, 1]),
    "complex abs squared": (lambda x: tt.sum(tt.abs(as_complex(x)) ** 2), [[0, 3], [0, 4]], [[0, 6], [0, 8]], [[1, 0], [1, 0]]),
    "complex 1-norm": (lambda x: linalg.vector_norm(as_complex(x), ord=1), [[0, 3], [0, 4]], [[0, 0.6], [0, 0.8]], [[1, 0], [1, 0]]),
    "complex inf-norm": (lambda x: linalg.vector_norm(as_complex(x), ord=INF) ** 2, [[0], [0]], [[0], [0]], [[1], [1]]),
    "complex direction": (lambda x: tt.sum(tt.real(tt.sign(as_complex(x)))), [[0, 3], [0, 4]], [[0, 0.128], [0, -0.096]], [[1, 0], [1, 0]]),
    "4-norm": (lambda x: linalg.vector_norm(x, ord=4) ** 2, [0, 0], [0, 0], [1, 1]),
    "1.5-norm": (lambda x: linalg.vector_norm(x, ord=1.5), [1, 0], [1, 0], [0, 1]),
    "half-norm": (lambda x: linalg.vector_norm(x, ord=0.5), [1, 0], [1, 0], [0, 1]),
    "power of abs": (lambda x: tt.sum(tt.abs(x) ** 1.5), [0, 1], [0, 1.5], [1, 0]),
    "0 to a power": (lambda x: x[0] ** x[1], [0, 1], [1, 0], [1, 1]),
    "negative base": (lambda x: x[0] ** x[1], [-2, 3], [12, 0], [1, 1]),
    "negative number": (lambda x: tt.sum((-2.0) ** x), [2, 3], [0, 0], [1, 1]),
    "equal infinities": (lambda x: tt.logaddexp(x[0], x[1]), [-INF, -INF], [0.5, 0.5], [1, 1]),
    "an infinite number": (lambda x: tt.sum(tt.logaddexp(x, -INF)), [-INF, 1], [0.5, 1], [1, 0]),
    "equal eigenvalues": (lambda x: tt.sum(linalg.eigvalsh(x) ** 2), [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]),
    "eigenvalues of eigh": (lambda x: tt.sum((linalg.eigh(x)[0] - 1) ** 2), [[1, 0], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]),
    "equal singular values": (lambda x: tt.sum(linalg.svdvals(x) ** 2), [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]),
    "singular values of svd": (lambda x: tt.sum(linalg.svd(x).S ** 2), [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]),
}


@pytest.mark.parametrize("name", NO_SECOND)
def test_the_second_derivative_is_nan_where_the_first_is_a_convention(backend: Backend, name: str) -> None:
    function, point, gradient, kinks = NO_SECOND[name]
    x, expected, at = frozen(numpy.float64(point)), numpy.float64(gradient), numpy.asarray(kinks, bool)
    assert_close(tt.grad(function)(x), expected, rtol=1e-12, atol=1e-12)
    along = frozen(numpy.ones(at.shape))
    assert_close(tt.jvp(function, (x,), (along,))[1], expected.sum(), rtol=1e-12, atol=1e-12)
    gradient_again, second = tt.jvp(tt.grad(function), (x,), (along,))
    assert_close(gradient_again, expected, rtol=1e-12, atol=1e-12)
    assert numpy.isnan(host(second)[at]).all()
    assert numpy.isfinite(host(second)[~at]).all()


#: Piecewise linear functions, squared: kinks do not contribute to second derivatives, as in PyTorch and JAX.
LINEAR: dict[str, tuple[Callable[[Tensor], Tensor], Any, Any]] = {
    "abs": (lambda x: tt.sum(tt.abs(x) ** 2), [0, 3], [[0, 0], [0, 2]]),
    "1-norm": (lambda x: linalg.vector_norm(x, ord=1) ** 2, [0, 3], [[0, 0], [0, 2]]),
    "inf-norm": (lambda x: linalg.vector_norm(x, ord=INF) ** 2, [0, 0], [[0, 0], [0, 0]]),
    "maximum": (lambda x: tt.maximum(x[0], x[1]) ** 2, [1, 1], [[0.5, 0.5], [0.5, 0.5]]),
    "max": (lambda x: tt.max(x) ** 2, [1, 1], [[0.5, 0.5], [0.5, 0.5]]),
    "clip": (lambda x: tt.sum(tt.clip(x, 0.0, 1.0) ** 2), [0, 2], [[2, 0], [0, 0]]),
    "sort": (lambda x: tt.sort(x)[1] ** 2, [1, 3], [[0, 0], [0, 2]]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_the_second_derivative_of_piecewise_linear_functions_uses_the_subgradient(backend: Backend, name: str) -> None:
    function, point, expected = LINEAR[name]
    assert_close(tt.hessian(function)(frozen(numpy.float64(point))), numpy.float64(expected))


#: Smooth points near a kink.
SMOOTH: dict[str, tuple[Callable[[Tensor], Tensor], Any]] = {
    "exponent 0": (lambda x: x[0] ** x[1], [2, 0]),
    "4-norm with a zero element": (lambda x: linalg.vector_norm(x, ord=4), [1, 0, -2]),
    "3-norm with a zero element": (lambda x: linalg.vector_norm(x, ord=3), [1, 0, -2]),
    "standard deviation of one element": (tt.std, [2]),
    "a singular value of 0": (lambda x: tt.sum(linalg.svdvals(x) ** 2), [[1, 0], [0, 0]]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives_near_a_kink_are_correct(backend: Backend, name: str) -> None:
    function, point = SMOOTH[name]
    check_gradients(function, numpy.float64(point))


def test_a_power_has_second_derivatives_at_base_0_for_exponents_above_1(backend: Backend) -> None:
    assert_close(tt.hessian(lambda x: x[0] ** x[1])(frozen(numpy.float64([0, 2]))), numpy.float64([[2, 0], [0, 0]]))


def test_the_fourth_derivative_of_a_power_of_a_norm_exists_if_an_element_is_0(backend: Backend) -> None:
    derivative: Callable[[Tensor], Tensor] = lambda x: linalg.vector_norm(tt.stack([x, tt.ones_like(x)]), ord=4) ** 4  # noqa: E731
    for _ in range(4):
        derivative = tt.grad(derivative)
    assert_close(derivative(frozen(numpy.float64(0))), numpy.float64(24), rtol=1e-12)
