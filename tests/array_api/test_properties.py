"""Derivatives of every function of the namespace for random calls, compared with finite differences in float64."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from hypothesis import given, settings, strategies as st

import tinytorch as tt
from tests.array_api.cases import real_imag, to_complex
from tests.array_api.strategies import values
from tests.array_api.strategies_beyond import NOT_COMPLEX, PROPERTIES
from tests.array_api.test_rules import OTHERS, differentiable, functions
from tests.helpers import check_gradients, frozen, host
from tinytorch.backend import current_backend

#: Deterministic: a failure is reproducible everywhere.
reproducible = settings(max_examples=30, derandomize=True, deadline=None, database=None)


def test_every_differentiable_function_has_a_strategy() -> None:
    assert set(PROPERTIES) == {name for name in functions() - OTHERS if differentiable(name)}


@pytest.mark.parametrize("name", sorted(PROPERTIES))
@reproducible
@given(data=st.data())
def test_first_and_second_derivatives_equal_finite_differences(name: str, data: st.DataObject) -> None:
    case = data.draw(PROPERTIES[name])
    check_gradients(lambda *tensors: case.call(tt, *tensors), *case.inputs, order=case.order, tolerance=2e-5)


@pytest.mark.parametrize("name", sorted(set(PROPERTIES) - NOT_COMPLEX))
@reproducible
@given(data=st.data())
def test_derivatives_at_complex_arguments_equal_finite_differences(name: str, data: st.DataObject) -> None:
    """Some or all operands get an imaginary part; gradients are taken with respect to both parts."""
    if name in ("std", "var") and current_backend().name == "strict":
        pytest.skip("the standard defines std and var for real numbers only, and strict rejects complex ones")
    case = data.draw(PROPERTIES[name])
    real = [numpy.asarray(x) for x in case.inputs]
    wide = [i for i, x in enumerate(real) if x.dtype == numpy.float64]
    chosen = data.draw(st.lists(st.sampled_from(wide), min_size=1, unique=True))
    imaginary = [values(data.draw, real[i].shape, 0.1, 0.5) for i in chosen]

    def call(*tensors: Any) -> Any:
        operands = list(tensors[: len(real)])
        for i, part in zip(chosen, tensors[len(real) :], strict=True):
            operands[i] = to_complex(tt, operands[i], part)
        out = case.call(tt, *operands)
        outputs = out if isinstance(out, tuple | list) else [out]
        return [part for z in outputs for part in (real_imag(tt, z) if tt.isdtype(z.dtype, "complex floating") else [z])]

    check_gradients(call, *real, *imaginary, order=case.order, tolerance=2e-5)


@pytest.mark.parametrize("name", sorted(set(PROPERTIES) - {"astype"}))
@reproducible
@given(data=st.data())
def test_float32_gradients_equal_float64_gradients(name: str, data: st.DataObject) -> None:
    case = data.draw(PROPERTIES[name])
    argnums = tuple(i for i, x in enumerate(case.inputs) if numpy.asarray(x).dtype == numpy.float64)

    def total(*tensors: Any) -> Any:
        out = case.call(tt, *tensors)
        parts = [tt.sum(tt.astype(part, tt.float64)) for part in (out if isinstance(out, tuple | list) else [out])]
        return sum(parts[1:], parts[0])

    narrow = [numpy.asarray(x).astype(numpy.float32) if i in argnums else x for i, x in enumerate(case.inputs)]
    wide = [x.astype(numpy.float64) if i in argnums else x for i, x in enumerate(narrow)]
    ours = tt.grad(total, argnums)(*[frozen(x) for x in narrow])
    theirs = tt.grad(total, argnums)(*[frozen(x) for x in wide])
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype is tt.float32
        numpy.testing.assert_allclose(host(a), host(b), rtol=2e-3, atol=2e-3 * max(1.0, float(numpy.max(numpy.abs(host(b)), initial=0.0))))
