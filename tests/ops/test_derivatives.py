"""First and second derivatives of every fused operation, for every subset of operands, with and without kernels of the backend."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen
from tests.ops.cases import CASES, Case
from tinytorch import ops
from tinytorch.autograd.operation import Operation, fused_operation
from tinytorch.backend import Backend
from tinytorch.ops import portable_kernels
from tinytorch.tensor import Tensor

FUSED = {value.__name__: value for value in vars(ops).values() if isinstance(value, Operation)}
NAMES = [c.kernel for c in CASES]
MANY = [c for c in CASES if sum(x.dtype == numpy.float64 for x in c.inputs) > 1]


def _floats(inputs: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(i for i, x in enumerate(inputs) if x.dtype == numpy.float64)


def _loss(case: Case) -> Any:
    """A scalar function of the result."""

    def loss(*tensors: Tensor) -> Tensor:
        out = case.call(*tensors)
        return tt.sum(tt.sin(out) * out)

    return loss


def _gradient_sum(case: Case) -> Any:
    """A scalar function of the first derivatives; its gradient contains second derivatives."""
    gradient = tt.grad(_loss(case), _floats(case.inputs))
    return lambda *tensors: sum((tt.sum(tt.sin(g)) for g in gradient(*tensors)), tt.asarray(0.0))


def test_every_fused_operation_with_a_derivative_is_in_the_table() -> None:
    assert {name for name, fused in FUSED.items() if fused.joint_rule is not None} == set(NAMES)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_derivatives_agree_with_finite_differences(backend: Backend, case: Case) -> None:
    check_gradients(case.call, *case.inputs, tolerance=2e-5)


@pytest.mark.parametrize("case", MANY, ids=[c.kernel for c in MANY])
def test_the_gradient_of_an_operand_does_not_depend_on_which_others_require_one(backend: Backend, case: Case) -> None:
    tensors, floats = [frozen(x) for x in case.inputs], _floats(case.inputs)
    for function in (_loss(case), _gradient_sum(case)):
        together = dict(zip(floats, tt.grad(function, floats)(*tensors), strict=True))
        for count in range(1, len(floats)):
            for subset in combinations(floats, count):
                for i, gradient in zip(subset, tt.grad(function, subset)(*tensors), strict=True):
                    assert_close(gradient, together[i], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", sorted(set(NAMES)))
def test_kernels_agree_with_the_portable_implementation(backend: Backend, kernel: str) -> None:
    if kernel not in backend.kernels:
        pytest.skip(f"the {backend.name} backend has no kernel for {kernel}")
    for case in [c for c in CASES if c.kernel == kernel]:
        for dtype, close in (("float32", {"rtol": 1e-4, "atol": 2e-4}), ("float64", {"rtol": 1e-9, "atol": 1e-10})):
            overridden = _results(case, dtype)
            with portable_kernels():
                portable = _results(case, dtype)
            for ours, theirs in zip(overridden, portable, strict=True):
                assert_close(ours, theirs, **close)


def _results(case: Case, dtype: str) -> list[Tensor]:
    """Values, first and second derivatives."""
    tensors = [frozen(x.astype(dtype) if x.dtype == numpy.float64 else x) for x in case.inputs]
    floats = _floats(case.inputs)
    return [case.call(*tensors), *tt.grad(_loss(case), floats)(*tensors), *tt.grad(_gradient_sum(case), floats)(*tensors)]


def test_an_operation_without_a_rule_raises() -> None:
    @fused_operation
    def nothing(xp: Any, x: Any) -> tuple[Tensor, None]:
        return x, None

    with pytest.raises(tt.NotDifferentiableError, match="nothing has no derivative"):
        tt.grad(lambda x: tt.sum(nothing(x)))(frozen([1.0]))


def test_operands_on_two_backends_raise() -> None:
    with pytest.raises(tt.BackendMismatchError, match="linear: one operand is on numpy:cpu and another on strict:cpu"):
        ops.linear(tt.ones((1, 2), device="numpy"), tt.ones((1, 2), device="strict"), None)


def test_a_second_backward_raises_with_a_hint(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    y = tt.sum(ops.gelu(x, approximate="tanh"))
    y.backward()
    with pytest.raises(RuntimeError, match="pass retain_graph=True to the earlier one"):
        y.backward()
