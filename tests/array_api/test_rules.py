"""Every operation of the namespace is tested: values against numpy, derivatives against finite differences."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy
import pytest

import tinytorch as tt
from tests.array_api.cases import Case
from tests.array_api.cases_beyond import CASES
from tests.helpers import assert_close, check_gradients, frozen
from tinytorch import array_api
from tinytorch.autograd.operation import Operation, operation
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor

MISSING_RULE = operation(lambda xp, x: x).reason


def _operations() -> dict[str, Operation[..., Any]]:
    """All operations by name, including those wrapped by Python functions (`clip`, `concat`); extensions as "linalg.inv"."""
    prefix = f"{array_api.__name__}."
    found = {}
    for info in pkgutil.walk_packages(array_api.__path__, prefix):
        extension = info.name.removeprefix(prefix).partition(".")[0]
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, Operation) and value.__module__ == info.name:
                found[f"{extension}.{value.__name__}" if extension in EXTENSIONS else value.__name__] = value
    return found


def functions() -> set[str]:
    """The names of all public functions; functions of an extension as "linalg.inv"."""
    plain = {name for name in array_api.__all__ if not name.startswith("__") and callable(getattr(array_api, name))}
    return plain | {f"{extension}.{name}" for extension in EXTENSIONS for name in getattr(array_api, extension).__all__}


EXTENSIONS = ("fft", "linalg")
OPERATIONS = _operations()

#: Functions of the namespace that are not operations: creation functions and dtype functions.
OTHERS = {
    *("arange", "asarray", "empty", "empty_like", "eye", "full", "full_like", "linspace", "ones", "ones_like", "zeros", "zeros_like"),
    *("can_cast", "finfo", "iinfo", "isdtype", "result_type", "to_device", "from_dlpack", "fft.fftfreq", "fft.rfftfreq"),
    *("allclose", "isclose", "one_hot", "stop_gradient"),  # see test_beyond.py
}


def differentiable(name: str) -> bool:
    found = OPERATIONS.get(name)
    return found is None or bool(found.rules) or found.joint_rule is not None


def _names(cases: list[Case]) -> list[str]:
    return [c.operation for c in cases]


SMOOTH = [c for c in CASES if differentiable(c.operation)]
PIECEWISE_CONSTANT = [c for c in CASES if not differentiable(c.operation) and not OPERATIONS[c.operation].recordable]
WITHOUT_DERIVATIVE = [c for c in CASES if not differentiable(c.operation) and OPERATIONS[c.operation].recordable]


def test_the_table_contains_every_function_of_the_namespace() -> None:
    assert functions() - OTHERS == {c.operation for c in CASES}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_has_a_rule_or_a_reason_for_having_none(name: str) -> None:
    found = OPERATIONS[name]
    assert differentiable(name) or found.reason != MISSING_RULE, f"{name} needs derivatives(), piecewise_constant() or no_derivative()"


@pytest.mark.parametrize("case", CASES, ids=_names(CASES))
def test_values_equal_those_of_numpy(backend: Backend, case: Case) -> None:
    inputs = [numpy.asarray(x) for x in case.inputs]
    actual = case.call(tt.zeros(1).__array_namespace__(), *[frozen(x) for x in inputs])
    expected = case.call(numpy_namespace, *inputs)
    if isinstance(actual, Tensor):
        actual, expected = [actual], [expected]
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours, theirs, rtol=case.tolerance, atol=case.tolerance / 100)


@pytest.mark.parametrize("case", SMOOTH, ids=_names(SMOOTH))
def test_derivatives_equal_finite_differences(backend: Backend, case: Case) -> None:
    xp = tt.zeros(1).__array_namespace__()
    check_gradients(lambda *tensors: case.call(xp, *tensors), *case.inputs, order=case.order)


@pytest.mark.parametrize("case", PIECEWISE_CONSTANT, ids=_names(PIECEWISE_CONSTANT))
def test_piecewise_constant_operations_are_not_recorded(case: Case) -> None:
    tensors = [frozen(x, requires_grad=numpy.asarray(x).dtype == numpy.float64) for x in case.inputs]
    out = case.call(tt, *tensors)
    for tensor in [out] if isinstance(out, Tensor) else out:
        assert tensor.node is None


@pytest.mark.parametrize("case", WITHOUT_DERIVATIVE, ids=_names(WITHOUT_DERIVATIVE))
def test_differentiating_an_operation_without_a_derivative_raises(case: Case) -> None:
    def total(*tensors: Tensor) -> Tensor:
        parts = [tt.sum(out) for out in case.call(tt, *tensors) if out.dtype.is_floating]
        return sum(parts[1:], parts[0])

    with pytest.raises(tt.NotDifferentiableError, match=f"{case.operation} has no derivative: "):
        tt.grad(total)(*[frozen(x) for x in case.inputs])


def test_the_gradient_has_the_dtype_of_its_operand(backend: Backend) -> None:
    narrow, wide = frozen(numpy.float32([1, 2])), frozen(numpy.float64([3, 4]))
    for function in (lambda x, y: tt.sum(x * y), lambda x, y: tt.sum(tt.concat([x, y])), lambda x, y: tt.sum(tt.astype(x, tt.float64) + y)):
        by_narrow, by_wide = tt.grad(function, argnums=(0, 1))(narrow, wide)
        assert (by_narrow.dtype, by_wide.dtype) == (tt.float32, tt.float64)


def test_integers_carry_no_gradient(backend: Backend) -> None:
    x = frozen([1.5, 2.5], requires_grad=True)
    assert tt.astype(x, tt.int32).node is None
    assert tt.argmax(x).node is None


def test_three_equal_maxima_share_the_gradient(backend: Backend) -> None:
    assert_close(tt.grad(tt.max)(frozen([2.0, 2.0, 2.0, 1.0])), numpy.float32([1, 1, 1, 0]) / numpy.float32(3))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[tt.asarray([2, 0, 0])], [2, 0, numpy.inf]),
        (lambda x: x[x > 0], [numpy.inf, 1, 1]),
        (lambda x: tt.take(x, tt.asarray([1, 0, 2])), [1, numpy.inf, 1]),
        (lambda x: tt.sort(x), [1, 1, numpy.inf]),
        (lambda x: tt.concat([tt.reshape(tt.max(x), (1,)), x[1:]]), [numpy.inf, 1, 1]),
        (lambda x: tt.linalg.diagonal(x[:, None] * tt.ones((1, 3), dtype=tt.float64)), [numpy.inf, 1, 1]),
    ],
    ids=["getitem", "mask", "take", "sort", "max", "diagonal"],
)
def test_an_infinite_gradient_affects_only_its_own_element(backend: Backend, function: Any, expected: list[float]) -> None:
    weights = frozen(numpy.float64([numpy.inf, 1, 1]))
    gradient = tt.grad(lambda x: tt.sum(function(x) * weights))(frozen(numpy.float64([3, 2, 1])))
    assert_close(gradient, numpy.float64(expected))


def test_the_gradient_of_sorting_many_numbers_in_float32_is_exact(backend: Backend) -> None:
    random = numpy.random.default_rng(0)
    x, weights = random.normal(size=(2, 5000)).astype(numpy.float32)
    expected = numpy.empty_like(x)
    expected[numpy.argsort(x)] = weights
    assert_close(tt.grad(lambda x: tt.sum(tt.sort(x) * frozen(weights)))(frozen(x)), expected, rtol=0)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_derivatives_of_atan2_and_asinh_do_not_overflow(backend: Backend, size: float) -> None:
    x = frozen(numpy.float32([size]))
    assert_close(tt.grad(lambda y: tt.sum(tt.atan2(y, x)))(x), numpy.float32([0.5 / size]), rtol=1e-5)
    assert_close(tt.grad(lambda y: tt.sum(tt.asinh(y)))(x), numpy.float32([1 / max(size, 1)]), rtol=1e-5)


def test_the_gradient_of_logaddexp_is_split_between_equal_infinities(backend: Backend) -> None:
    """As in recurrences that start with log(0): a NaN there would propagate to all results."""
    inf = numpy.inf
    x, y = frozen(numpy.float64([-inf, 0, inf, 1000, inf])), frozen(numpy.float64([-inf, -inf, inf, 0, 1]))
    by_x, by_y = tt.vjp(tt.logaddexp, x, y)[1](tt.ones_like(x))
    assert_close(by_x, numpy.float64([0.5, 1, 0.5, 1, 1]))
    assert_close(by_y, numpy.float64([0.5, 0, 0.5, 0, 0]))


def test_a_conversion_that_would_lose_a_gradient_raises(backend: Backend) -> None:
    z, x, n = frozen(numpy.complex128([1j])), frozen(numpy.float64([1])), frozen([1])
    with pytest.raises(TypeError, match="cannot convert complex128 to float64; use tinytorch"):
        tt.astype(z, tt.float64)
    for target, value in ((x, z), (n, x)):
        changed = +target
        with pytest.raises(TypeError, match=f"cannot assign {value.dtype.name} values to a Tensor of {target.dtype.name}"):
            changed[0] = value[0]


def test_where_of_two_numbers_raises(backend: Backend) -> None:
    with pytest.raises(TypeError, match="x1 or x2 must be a Tensor"):
        tt.where(frozen([True, False]), 1.0, 2.0)
