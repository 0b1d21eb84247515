"""`grad` and `value_and_grad`: derivatives of any order, nesting, and errors instead of lost gradients."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen
from tinytorch.autograd.operation import operation
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor


def cube(x: Tensor) -> Tensor:
    return tt.sum(x * x * x)


def test_the_gradient_has_the_shape_dtype_and_device_of_the_argument(backend: Backend) -> None:
    x = frozen(numpy.float64([[1, 2], [3, 4]]))
    assert_close(tt.grad(cube)(x), 3 * numpy.float64([[1, 4], [9, 16]]))


def test_value_and_grad_returns_both(backend: Backend) -> None:
    value, gradient = tt.value_and_grad(cube)(frozen([1.0, 2.0]))
    assert_close(value, numpy.float32(9))
    assert_close(gradient, numpy.float32([3, 12]))
    assert value.node is None
    assert gradient.node is None


def test_nested_derivatives_up_to_third_order(backend: Backend) -> None:
    x = frozen(numpy.float64(0.7))
    function: Any = lambda x: tt.sin(x) * x  # noqa: E731
    expected = [math.sin(0.7) * 0.7, math.sin(0.7) + 0.7 * math.cos(0.7)]
    expected += [2 * math.cos(0.7) - 0.7 * math.sin(0.7), -3 * math.sin(0.7) - 0.7 * math.cos(0.7)]
    for value in expected:
        assert_close(function(x), numpy.float64(value), rtol=1e-12)
        function = tt.grad(function)


def test_several_argnums_return_a_tuple(backend: Backend) -> None:
    x, y = frozen([1.0, 2.0]), frozen([3.0, 4.0])
    by_y, by_x = tt.grad(lambda x, y: tt.sum(x * x * y), argnums=(1, 0))(x, y)
    assert_close(by_y, numpy.float32([1, 4]))
    assert_close(by_x, numpy.float32([6, 16]))


def test_a_tensor_passed_as_two_arguments_is_differentiated_separately(backend: Backend) -> None:
    x = frozen([2.0])
    assert_close(tt.grad(lambda a, b: tt.sum(a * b * b))(x, x), numpy.float32([4]))


def test_arguments_may_be_dictionaries_and_lists(backend: Backend) -> None:
    parameters = {"w": frozen([1.0, 2.0]), "layers": [frozen(3.0), frozen([4.0])], "name": "mlp", "steps": frozen([7])}

    def loss(p: dict[str, Any]) -> Tensor:
        return tt.sum(p["w"] * p["layers"][0] * p["layers"][1])

    gradient = tt.grad(loss)(parameters)
    assert_close(gradient["w"], numpy.float32([12, 12]))
    assert_close(gradient["layers"][0], numpy.float32(12))
    assert_close(gradient["layers"][1], numpy.float32([9]))
    assert gradient["name"] == "mlp"
    assert gradient["steps"] is None  # integers have no gradient


def test_the_gradient_is_zero_if_the_value_does_not_depend_on_the_argument(backend: Backend) -> None:
    x = frozen(numpy.float64([1, 2]))
    assert_close(tt.grad(lambda x: tt.sum(tt.ones_like(x)))(x), numpy.zeros(2))
    assert_close(tt.grad(lambda x: tt.sum(tt.floor(x)))(x), numpy.zeros(2))
    w = frozen(1.0, requires_grad=True)
    assert_close(tt.grad(lambda x: w * 2)(x), numpy.zeros(2))


def test_has_aux_returns_the_second_result_unchanged(backend: Backend) -> None:
    def loss(x: Tensor) -> tuple[Tensor, dict[str, Any]]:
        y = x * x
        return tt.sum(y), {"squares": y, "note": "free"}

    (value, aux), gradient = tt.value_and_grad(loss, has_aux=True)(frozen([1.0, 3.0]))
    assert_close(value, numpy.float32(10))
    assert_close(aux["squares"], numpy.float32([1, 9]))
    assert aux["squares"].node is None
    assert aux["note"] == "free"
    gradient, aux = tt.grad(loss, has_aux=True)(frozen([1.0, 3.0]))
    assert_close(gradient, numpy.float32([2, 6]))
    assert aux["note"] == "free"


def test_keyword_arguments_are_passed_to_the_function() -> None:
    assert tt.grad(lambda x, power: x**power)(frozen(2.0), power=3).item() == 12


def test_the_value_may_have_any_shape_with_one_element(backend: Backend) -> None:
    assert_close(tt.grad(lambda x: x * x)(frozen([[3.0]])), numpy.float32([[6]]))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (lambda x: x, ([1.0, 2.0],), r"must return a Tensor with one element, got a Tensor of shape \(2,\)"),
        (lambda x: x.item(), ([1.0],), "got float"),
        (lambda x: x, ([1, 2],), "must contain floating-point Tensors, got Tensor"),
        (lambda: 1.0, (), "`argnums` contains 0, but the number of positional arguments is 0"),
    ],
)
def test_invalid_calls_raise_type_error(function: Any, arguments: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tt.grad(function)(*[frozen(a) for a in arguments])


def test_the_error_names_the_operation_without_a_derivative() -> None:
    with pytest.raises(tt.NotDifferentiableError, match="nextafter has no derivative: it depends on the spacing"):
        tt.grad(lambda x: tt.sum(tt.nextafter(x, x + 1)))(frozen([1.0, 2.0]))


def test_the_error_names_the_operand_without_a_derivative() -> None:
    @operation
    def shift(xp: Any, x: Tensor, by: Tensor, /) -> Tensor:
        return x + by

    shift.derivatives(x=lambda xp, g, out, x, by: g)
    assert tt.grad(lambda x: shift(x, x.detach()))(frozen(1.0)).item() == 1
    with pytest.raises(tt.NotDifferentiableError, match=r"shift has no derivative with respect to by; use \.detach\(\) on it"):
        tt.grad(lambda x: shift(x.detach(), x))(frozen(1.0))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda number: tt.std(tt.ones(3), correction=number), "std has no derivative with respect to correction"),
        (lambda number: tt.linalg.vector_norm(tt.ones(3), ord=number), "vector_norm has no derivative with respect to ord"),
        (lambda number: tt.sum(tt.arange(number, 3)), "arange has no derivative"),
        (lambda number: tt.sum(tt.linspace(0, number, 3)), "linspace has no derivative"),
    ],
)
def test_a_setting_that_requires_a_gradient_raises(backend: Backend, function: Any, message: str) -> None:
    with pytest.raises(tt.NotDifferentiableError, match=rf"{message}.* \.detach\(\) on"):
        tt.grad(function)(frozen(0.5))


def test_a_setting_may_be_a_tensor_without_a_gradient(backend: Backend) -> None:
    end = frozen(3.0, requires_grad=True)
    assert tt.arange(frozen(3)).tolist() == [0, 1, 2]
    assert tt.linspace(1.0, end.detach(), 3).tolist() == [1.0, 2.0, 3.0]
    with tt.no_grad():
        assert tt.arange(end).tolist() == [0.0, 1.0, 2.0]


# ---- inside other derivatives ----


def test_a_gradient_penalty_has_gradients_of_the_weights(backend: Backend) -> None:
    w = frozen([2.0, 3.0], requires_grad=True)
    x = frozen([1.0, 1.0])
    gradient = tt.grad(lambda x: tt.sum(w * x * x))(x)  # 2 w x
    assert gradient.requires_grad
    tt.sum(gradient * gradient).backward()
    assert_close(w.grad, numpy.float32([16, 24]))  # d (2 w x)^2 / dw


def test_the_gradient_at_a_leaf_tensor_can_be_differentiated_with_backward(backend: Backend) -> None:
    x = frozen([2.0], requires_grad=True)
    tt.sum(tt.grad(cube)(x)).backward()
    assert_close(x.grad, numpy.float32([12]))


def test_an_inner_derivative_depends_on_the_outer_argument(backend: Backend) -> None:
    def outer(x: Tensor) -> Tensor:
        return tt.grad(lambda y: x * x * y * y)(x)  # 2 x^3; x is used in the closure and as the argument

    assert_close(tt.grad(outer)(frozen(2.0)), numpy.float32(24))


def test_aux_that_depends_on_a_leaf_tensor_stays_attached(backend: Backend) -> None:
    w = frozen([2.0], requires_grad=True)
    (value, aux), gradient = tt.value_and_grad(lambda x: (tt.sum(x * x), w * x), has_aux=True)(frozen([3.0]))
    assert value.node is None
    assert gradient.node is None
    tt.sum(aux).backward()
    assert_close(w.grad, numpy.float32([3]))


def test_aux_stays_attached_if_the_value_is_constant(backend: Backend) -> None:
    w = frozen(2.0, requires_grad=True)
    _, aux = tt.grad(lambda x: (tt.sum(tt.ones_like(x)), w * 5), has_aux=True)(frozen([3.0]))
    aux.backward()
    assert_close(w.grad, numpy.float32(5))


def test_grad_under_no_grad_returns_a_gradient_that_is_not_recorded(backend: Backend) -> None:
    w = frozen(2.0, requires_grad=True)
    with tt.no_grad():
        gradient = tt.grad(lambda x: w * x * x)(frozen(3.0))
    assert_close(gradient, numpy.float32(12))
    assert gradient.node is None


def test_a_value_computed_under_no_grad_is_a_constant(backend: Backend) -> None:
    def function(x: Tensor) -> Tensor:
        with tt.no_grad():
            constant = x * x
        return constant * x

    assert_close(tt.grad(function)(frozen(3.0)), numpy.float32(9))


def test_a_detached_value_is_a_constant_at_every_order(backend: Backend) -> None:
    assert_close(tt.grad(tt.grad(lambda x: x.detach() * x * x))(frozen(3.0)), numpy.float32(6))


def test_backward_can_be_called_inside_a_differentiated_function(backend: Backend) -> None:
    def function(x: Tensor) -> Tensor:
        w = frozen(5.0, requires_grad=True)
        (w * w).backward()
        return x * w.grad

    assert_close(tt.grad(function)(frozen(3.0)), numpy.float32(10))


def test_an_argument_may_be_updated_in_place(backend: Backend) -> None:
    def function(x: Tensor) -> Tensor:
        x *= x
        x[0] = 5.0
        return tt.sum(x)

    x = frozen([2.0, 3.0])
    assert_close(tt.grad(function)(x), numpy.float32([0, 6]))
    assert_close(x, numpy.float32([2, 3]))


def test_hessian_vector_product_by_nesting_grad(backend: Backend) -> None:
    a = numpy.random.default_rng(0).normal(size=(3, 3))
    v = frozen(numpy.float64([1, -1, 2]))
    gradient = tt.grad(lambda x: tt.sum(tt.grad(lambda x: x @ frozen(a) @ x)(x) * v))
    assert_close(gradient(frozen(numpy.zeros(3))), (a + a.T) @ [1.0, -1.0, 2.0], rtol=1e-12)


def test_the_gradient_of_a_function_that_moves_between_backends() -> None:
    def function(x: Tensor) -> Tensor:
        return tt.sum((x.to("strict") ** 3).to("numpy"))

    with tt.use_backend("numpy"):
        x = frozen(numpy.float64([1, 2]))
        assert_close(tt.grad(function)(x), numpy.float64([3, 12]))
        check_gradients(function, [1.0, 2.0])


def test_threads_differentiate_concurrently() -> None:
    found: dict[int, list[float]] = {}

    def work(n: int) -> None:
        with tt.use_backend("numpy"):
            found[n] = [tt.grad(tt.grad(lambda x: x**3))(tt.asarray(float(n))).item() for _ in range(50)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [6.0 * n] * 50 for n in range(1, 5)}


def test_an_inner_derivative_does_not_attach_the_outer_one(backend: Backend) -> None:
    x, c = tt.asarray([2.0, 3.0]), tt.asarray([5.0, 7.0])
    gradient = tt.grad(lambda x: tt.sum(tt.grad(lambda c: tt.sum(c * c * x))(c)))(x)  # the sum of 2 c x
    assert gradient.tolist() == [10.0, 14.0]
    assert not gradient.requires_grad
