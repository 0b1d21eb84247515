"""Operators: results, allowed operands, in-place operators, and indexing."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

FLOATS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
BITWISE = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]
IN_PLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod, operator.ipow]
IN_PLACE_BITWISE = [operator.iand, operator.ior, operator.ixor, operator.ilshift, operator.irshift]


@pytest.mark.parametrize("symbol", [*FLOATS, *COMPARISONS])
def test_arithmetic_and_comparisons(backend: Backend, symbol: Callable[[Any, Any], Any]) -> None:
    a, b = numpy.float32([1.5, 2, 3]), numpy.float32([2, 2, 1.25])
    assert_close(symbol(frozen(a), frozen(b)), symbol(a, b))
    assert_close(symbol(frozen(a), 2), symbol(a, 2))
    assert_close(symbol(2.0, frozen(a)), symbol(numpy.float32(2), a))


@pytest.mark.parametrize("symbol", BITWISE)
def test_bitwise_operators(backend: Backend, symbol: Callable[[Any, Any], Any]) -> None:
    a, b = numpy.int32([1, 6, 12]), numpy.int32([3, 2, 1])
    assert_close(symbol(frozen(a), frozen(b)), symbol(a, b))
    assert_close(symbol(frozen(a), 2), symbol(a, 2))
    assert_close(symbol(2, frozen(b)), symbol(numpy.int32(2), b))


def test_unary_operators_and_matmul(backend: Backend) -> None:
    a = numpy.float32([[1, -2], [3, 4]])
    x = frozen(a)
    assert_close(-x, -a)
    assert_close(+x, a)
    assert_close(abs(x), abs(a))
    assert_close(x @ x, a @ a)
    assert_close(~frozen([1, 0]) + 1, numpy.array([-1, 0], backend.default_int))
    y = frozen(a)
    y @= x
    assert_close(y, a @ a)


# ---- allowed operands ----


@pytest.mark.parametrize("number", [2, 2.0, numpy.float64(2), numpy.int64(2), numpy.float32(2)])
def test_numbers_do_not_change_the_dtype(backend: Backend, number: Any) -> None:
    x = frozen([1.0, 2.0])
    assert (x * number).dtype is (number * x).dtype is tt.add(x, number).dtype is tt.float32
    assert_close(number * x, numpy.float32([1, 2]) * numpy.float32(number))


def test_two_backends_raise_with_operation_devices_and_hint() -> None:
    here, there = tt.ones(2, device="numpy"), tt.ones(2, device="strict")
    message = r"multiply: one operand is on numpy:cpu and another on strict:cpu; move one of them, as in x\.to\('numpy:cpu'\)"
    with pytest.raises(tt.BackendMismatchError, match=message):
        here * there
    with pytest.raises(tt.BackendMismatchError, match="concat: one operand"):
        tt.concat([here, there])
    with pytest.raises(tt.BackendMismatchError, match="getitem: one operand"):
        here[tt.asarray([0], device="strict")]
    with pytest.raises(tt.BackendMismatchError, match="setitem: one operand"):
        here[0] = tt.asarray(1.0, device="strict")


def test_two_devices_of_one_library_raise() -> None:
    with pytest.raises(tt.BackendMismatchError, match="on strict:cpu and another on strict:device1"):
        tt.ones(2, device="strict") + tt.ones(2, device="strict:device1")


def test_other_operands_raise_the_usual_type_error(backend: Backend) -> None:
    x = frozen([1.0])
    with pytest.raises(TypeError, match="unsupported operand"):
        x + "text"
    with pytest.raises(TypeError, match="unsupported operand"):
        x += "text"
    for symbol in (operator.add, operator.eq, operator.imul):
        with pytest.raises(
            TypeError, match=r"expected a Tensor, a number or a NumPy array, got a list; convert it with tinytorch\.asarray"
        ):
            symbol(x, [1.0])
    assert (x == "text") is False
    assert x != None  # noqa: E711


def test_tensors_are_hashed_by_identity() -> None:
    x = frozen([1.0])
    assert len({x, frozen([1.0]), x}) == 2


# ---- in place ----


@pytest.mark.parametrize("symbol", IN_PLACE)
def test_in_place_operators_rebind_and_do_not_write_into_arrays(backend: Backend, symbol: Callable[[Any, Any], Any]) -> None:
    a = numpy.float32([1.5, 2, 3])
    x = same = frozen(a)
    detached, held = x.detach(), x.raw
    x = symbol(x, 2.0)
    assert x is same
    assert_close(x, symbol(a.copy(), numpy.float32(2)))
    assert_close(detached, a)
    assert numpy.asarray(backend.to_host(held)).tolist() == a.tolist()


@pytest.mark.parametrize("symbol", IN_PLACE_BITWISE)
def test_in_place_bitwise_operators(backend: Backend, symbol: Callable[[Any, Any], Any]) -> None:
    a = numpy.int32([1, 6, 12])
    x = same = frozen(a)
    x = symbol(x, 2)
    assert x is same
    assert_close(x, symbol(a.copy(), 2))


def test_gradients_use_the_value_from_before_an_in_place_operation(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    y = x * 1
    z = y * y  # uses y = [1, 2]
    y *= 10
    tt.sum(y + z).backward()
    assert_close(x.grad, numpy.float32([12, 14]))


def test_assignment_is_differentiable_with_respect_to_both_tensors(backend: Backend) -> None:
    x, v = frozen([1.0, 2.0, 3.0], requires_grad=True), frozen([10.0], requires_grad=True)
    y = x * x
    held = y.detach()
    y[1:2] = v * v
    assert_close(y, numpy.float32([1, 100, 9]))
    assert_close(held, numpy.float32([1, 4, 9]))
    tt.sum(y).backward()
    assert_close(x.grad, numpy.float32([2, 0, 6]))
    assert_close(v.grad, numpy.float32([20]))


def test_assignment_into_a_constant_is_recorded(backend: Backend) -> None:
    buffer, v = tt.zeros(3), frozen(2.0, requires_grad=True)
    buffer[0] = v
    buffer[2] = v * v
    tt.sum(buffer).backward()
    assert_close(v.grad, numpy.float32(5))


def test_second_derivatives_of_assignment(backend: Backend) -> None:
    def function(x: Tensor, v: Tensor) -> Tensor:
        y = x * x
        y[:, 1] = v * x[:, 0]
        y[tt.asarray([True, False])] = v[0] ** 2
        return y * y

    check_gradients(function, numpy.float64([[0.5, 1.5], [2.5, 3.5]]), numpy.float64([0.3, 0.7]))


def test_in_place_operators_must_keep_shape_and_dtype(backend: Backend) -> None:
    x = frozen([1.0, 2.0])
    with pytest.raises(TypeError, match=r"\+= would change \(2,\) float32 to \(2,\) float64; .*write x = x \.\.\. instead"):
        x += frozen([0.5, 0.5], dtype="float64")
    y = frozen([1.0])
    with pytest.raises(TypeError, match=r"\*= would change \(1,\) float32 to \(3,\) float32"):
        y *= tt.ones(3)


def test_a_leaf_tensor_can_be_updated_in_place_under_no_grad_only(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"\+= cannot modify a leaf Tensor that requires a gradient.*inside `with tinytorch\.no_grad\(\):`"
    ):
        x += 1.0
    with pytest.raises(RuntimeError, match=r"x\[\.\.\.\] = cannot modify a leaf Tensor"):
        x[0] = 1.0
    with tt.no_grad():
        x += 1.0
        x[0] = 5.0
    assert x.requires_grad
    tt.sum(x * x).backward()
    assert_close(x.grad, numpy.float32([10, 6]))


def test_manual_gradient_descent(backend: Backend) -> None:
    x = frozen([5.0, -3.0], requires_grad=True)
    for _ in range(50):
        tt.sum((x - 1.0) ** 2).backward()
        with tt.no_grad():
            x -= 0.2 * x.grad
        x.grad = None
    assert_close(x.detach(), numpy.float32([1, 1]), rtol=1e-5)


# ---- indexing ----


@pytest.mark.parametrize(
    "key",
    [..., (1, ...), (-1, ...), (slice(1, 3), ...), (..., 0), (..., slice(3, None, -2), 1), (None, ...), (2, slice(1, 4, 2), -1), (0, 1, 1)],
    ids=str,
)
def test_basic_indices(backend: Backend, key: Any) -> None:
    array = numpy.arange(24.0).reshape(3, 4, 2)
    assert_close(frozen(array)[key], array[key])


def test_integer_and_boolean_arrays_as_indices(backend: Backend) -> None:
    array = numpy.arange(12.0).reshape(3, 4)
    x, rows, columns = frozen(array), frozen([0, 2, 0]), frozen([1, -1, 1])
    assert_close(x[rows, columns], array[[0, 2, 0], [1, -1, 1]])
    assert_close(x[x > 5], array[array > 5])


@pytest.mark.parametrize("key", [[0, 2], [-1, 0, 0], [[0, 1], [2, 0]], [], [True, False, True], [numpy.int64(1)]], ids=str)
def test_a_list_indexes_rows(backend: Backend, key: Any) -> None:
    array = numpy.arange(12.0).reshape(3, 4)
    assert_close(frozen(array)[key], array[key])
    x, changed = frozen(array), array.copy()
    x[key] = -1.0
    changed[key] = -1.0
    assert_close(x, changed)


def test_a_list_is_a_mask_or_an_index_of_one_axis(backend: Backend) -> None:
    array = numpy.arange(12.0).reshape(3, 4)
    mask = (array > 5).tolist()
    assert_close(frozen(array)[mask], array[mask])
    assert_close(frozen(array)[[0, 2], [1, 3]], array[[0, 2], [1, 3]])


def test_rows_are_assigned_by_a_list_with_gradients_of_the_values_that_remain(backend: Backend) -> None:
    x, v = frozen(numpy.zeros((3, 2), "float32"), requires_grad=True), frozen([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    y = x * 1
    y[[0, 2, 0]] = v
    assert_close(y, numpy.float32([[5, 6], [0, 0], [3, 4]]))
    tt.sum(y * y).backward()
    assert_close(x.grad, numpy.float32([[0, 0], [0, 0], [0, 0]]))
    assert_close(v.grad, numpy.float32([[0, 0], [6, 8], [10, 12]]))


def test_second_derivatives_of_reading_and_writing_rows_by_a_list(backend: Backend) -> None:
    def function(x: Tensor, v: Tensor) -> Tensor:
        y = x * x
        y[[2, 0]] = v[[1, 1]] ** 2
        return y[[0, 1, 0]] * y[[2, 2, -1]]

    check_gradients(function, numpy.float64([[0.5, 1.5], [2.5, 3.5], [0.7, 0.2]]), numpy.float64([[0.3, 0.7], [1.1, 0.4]]))


def test_a_list_of_other_values_or_out_of_bounds_raises(backend: Backend) -> None:
    x = frozen([[1.0], [2.0]])
    for key in ([0.5], ["a"], [slice(None)], [[0], [1, 0]]):
        for call in (lambda key=key: x[key], lambda key=key: x.__setitem__(key, 0.0)):
            with pytest.raises(IndexError, match="a list as an index must contain integers or booleans"):
                call()
    for key in ([2], [0, -3]):
        for call in (lambda key=key: x[key], lambda key=key: x.__setitem__(key, 0.0)):
            with pytest.raises(IndexError, match=r"index -?\d is out of bounds for axis 0 of shape \(2, 1\)"):
                call()


@pytest.mark.parametrize(
    "key",
    [
        (slice(None), [2, 0]),
        (slice(None), [-1]),
        (..., [0, 2]),
        (None, slice(1, None), [1, 1]),
        (slice(None), [[0, 1], [2, 2]]),
        ([1, 0], slice(0, 2)),
    ],
)
def test_a_list_indexes_one_axis_beside_slices(backend: Backend, key: Any) -> None:
    array = numpy.arange(6.0).reshape(2, 3)
    assert_close(frozen(array)[key], array[key])
    assert_close(tt.grad(lambda x: tt.sum(x[key] ** 2))(frozen(array)), _scattered(array, key))


def _scattered(array: numpy.ndarray, key: Any) -> numpy.ndarray:
    """The gradient of the sum of squares of ``array[key]``."""
    out = numpy.zeros_like(array)
    rows = numpy.arange(array.size).reshape(array.shape)[key].reshape(-1)
    numpy.add.at(out.reshape(-1), rows, 2 * array.reshape(-1)[rows])
    return out


def test_a_list_beside_slices_is_checked(backend: Backend) -> None:
    with pytest.raises(IndexError, match=r"index 3 is out of bounds for axis 1 of shape \(2, 3\)"):
        frozen(numpy.zeros((2, 3)))[:, [0, 3]]
