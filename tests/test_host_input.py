"""NumPy arrays beside Tensors on the host, as arguments of functions, and in transformations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow, operator.matmul]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.fixture(autouse=True)
def _on_the_host(backend: Backend) -> None:
    if not backend.capabilities.host:
        pytest.skip(f"{backend.spec} is a device, where NumPy arrays raise")


# ---- operators ----


@pytest.mark.parametrize("symbol", [*ARITHMETIC, *COMPARISONS])
def test_a_numpy_array_is_an_operand_on_either_side(backend: Backend, symbol: Callable[[Any, Any], Any]) -> None:
    a, b = numpy.float32([1.5, 2, 3]), numpy.float32([2, 2, 1.25])
    assert_close(symbol(frozen(a), b), symbol(a, b), rtol=1e-6)
    assert_close(symbol(a, frozen(b)), symbol(a, b), rtol=1e-6)


@pytest.mark.parametrize("array", [numpy.float64([1.5, 2.5]), numpy.array(1.5), numpy.int32([1, 2])], ids=str)
def test_the_result_has_the_promoted_dtype_as_with_a_tensor(backend: Backend, array: Any) -> None:
    x = frozen(array.astype(array.dtype.name.replace("64", "32"))) + 0
    assert_close(x * array, x * tt.asarray(array), rtol=0)
    assert_close(array * x, tt.asarray(array) * x, rtol=0)


def test_float32_with_a_float64_array_is_float64(backend: Backend) -> None:
    assert (frozen([1.0, 2.0]) + numpy.float64([0.1, 0.2])).dtype is tt.float64


def test_a_numpy_scalar_does_not_change_the_dtype(backend: Backend) -> None:
    assert (frozen([1.0, 2.0]) * numpy.float64(0.1)).dtype is tt.float32


def test_gradients_flow_past_a_numpy_operand_in_both_orders_of_derivatives(backend: Backend) -> None:
    weights = numpy.float64([2.0, 5.0])
    hessian = tt.hessian(lambda x: tt.sum(weights * x * x))(frozen([1.0, 3.0], dtype="float64"))
    assert_close(hessian, numpy.diag(2 * weights))


def test_the_graph_keeps_its_own_copy_of_an_array(backend: Backend) -> None:
    x, weights = frozen([1.0, 2.0], requires_grad=True), numpy.float32([3.0, 4.0])
    y = tt.sum(x * weights)
    weights[...] = 0
    y.backward()
    assert_close(x.grad, numpy.float32([3, 4]))


# ---- functions ----

F, V, INDEX, MASK = numpy.float32([[0.5, 0.25], [0.125, 0.75]]), numpy.float32([0.5, 0.25]), numpy.array([1, 0]), numpy.array([True, False])

#: Functions of host arrays, which ``c`` may convert to Tensors first.
CALLS: dict[str, Callable[[Any], Any]] = {
    "add": lambda c: tt.add(c(F), c(V)),
    "argsort": lambda c: tt.argsort(c(V)),
    "astype": lambda c: tt.astype(c(F), "int32"),
    "broadcast_arrays": lambda c: tt.broadcast_arrays(c(F), c(V))[1],
    "clip": lambda c: tt.clip(c(V), max=c(V)),
    "concat": lambda c: tt.concat([c(F), c(F)]),
    "full_like": lambda c: tt.full_like(c(V), 2.0),
    "ones_like": lambda c: tt.ones_like(c(V)),
    "outer": lambda c: tt.linalg.outer(c(V), c(V)),
    "repeat": lambda c: tt.repeat(c(V), c(INDEX)),
    "solve": lambda c: tt.linalg.solve(c(F), c(F)),
    "sort": lambda c: tt.sort(c(V)),
    "sum": lambda c: tt.sum(c(F), axis=1),
    "take": lambda c: tt.take(c(F), c(INDEX), axis=0),
    "take_along_axis": lambda c: tt.take_along_axis(c(F), c(INDEX[None, :]), axis=0),
    "unstack": lambda c: tt.unstack(c(F))[1],
    "where": lambda c: tt.where(c(MASK), c(V), 0.0),
    "zeros_like": lambda c: tt.zeros_like(c(V)),
    "an index": lambda c: tt.asarray(V)[c(INDEX)],
    "an index of a narrow dtype": lambda c: tt.asarray(V)[c(INDEX.astype(numpy.uint8))],
    "a mask": lambda c: tt.asarray(V)[c(MASK)],
    "a list with a Tensor": lambda c: tt.stack([tt.asarray(V), c(V)]),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_take_numpy_arrays_in_place_of_tensors(backend: Backend, name: str) -> None:
    assert_close(CALLS[name](lambda array: array), CALLS[name](tt.asarray), rtol=0)


def test_an_out_of_bounds_index_in_a_numpy_array_raises(backend: Backend) -> None:
    with pytest.raises(IndexError):
        frozen([1.0, 2.0])[numpy.array([2])]


def test_a_numpy_array_can_be_assigned_also_to_a_reversed_slice(backend: Backend) -> None:
    x = frozen([1.0, 2.0, 3.0])
    x[::-1] = numpy.float32([7, 8, 9])
    x[numpy.array([True, False, False])] = numpy.float32([5])
    assert_close(x, numpy.float32([5, 8, 7]))


def test_result_type_takes_numpy_arrays(backend: Backend) -> None:
    assert tt.result_type(F, tt.float64) is tt.float64


def test_functions_of_numbers_only_raise(backend: Backend) -> None:
    with pytest.raises(TypeError, match=r"sqrt expected a Tensor, got float; create one with tinytorch\.asarray"):
        tt.sqrt(2.0)  # type: ignore[arg-type]


# ---- transformations ----


def loss(x: Tensor) -> Tensor:
    return tt.sum((x - numpy.float64([3.0, 4.0])) ** 2)


def test_transformations_take_numpy_arrays_which_keep_their_dtype(backend: Backend) -> None:
    x, ones = numpy.zeros(2), numpy.ones(2)
    value, gradient = tt.value_and_grad(loss)(x)
    assert_close(value, numpy.float64(25))
    assert_close(gradient, numpy.float64([-6, -8]))
    assert_close(tt.grad(loss)(x), gradient)
    assert_close(tt.hessian(loss)(x), 2 * numpy.eye(2))
    assert_close(tt.jacobian(lambda x: x * x)(ones), 2 * numpy.eye(2))
    assert_close(tt.jvp(loss, (x,), (ones,))[1], numpy.float64(-14))
    assert_close(tt.vjp(lambda x: x * x, ones)[1](ones)[0], 2 * ones)
    assert_close(tt.hvp(loss, (x,), (ones,))[0], 2 * ones)


def test_transformations_take_python_floats(backend: Backend) -> None:
    value, gradient = tt.value_and_grad(lambda x: x**2)(3.0)
    assert_close(value, numpy.float32(9))
    assert_close(gradient, numpy.float32(6))
    assert_close(tt.jvp(lambda x: x**2, (3.0,), (1.0,))[1], numpy.float32(6))
    assert_close(tt.grad(lambda p: p["w"] * p["b"])({"w": 2.0, "b": numpy.float64(3.0)})["b"], numpy.float64(2))


def test_a_python_float_has_the_precision_of_the_other_arguments(backend: Backend) -> None:
    gradients = tt.grad(lambda x, y: tt.sum(x * y), argnums=(0, 1))(frozen([1.0, 2.0], dtype="float64"), 0.1)
    assert_close(gradients[0], numpy.float64([0.1, 0.1]), rtol=0)
    assert_close(gradients[1], numpy.float64(3))


def test_an_integer_is_not_differentiated(backend: Backend) -> None:
    with pytest.raises(TypeError, match=r"must contain floating-point Tensors, got int; write 3\.0 instead of 3"):
        tt.grad(lambda x: x**2)(3)


def test_scipy_minimizes_a_function_with_its_gradient(backend: Backend) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="scipy, whose minimize is called here, is not installed")
    found = optimize.minimize(tt.value_and_grad(loss), numpy.zeros(2), jac=True)
    assert found.success
    numpy.testing.assert_allclose(found.x, [3, 4], rtol=1e-6)
