"""numpy's functions and operators with Tensors: ``numpy.sum(x)``, ``array * x``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import frozen
from tinytorch.tensor_methods.numpy_functions import OPERATORS

A = numpy.float32([[1.5, -2.0, 3.0], [0.5, 4.0, -1.0]])

#: Calls of numpy with a Tensor or an array.
CALLS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: numpy.sum(x, axis=1),
    "exp": numpy.exp,
    "maximum": lambda x: numpy.maximum(x, 0.5),
    "concatenate": lambda x: numpy.concatenate([x, x]),
    "add.reduce": lambda x: numpy.add.reduce(x, axis=0),
    "allclose": lambda x: numpy.allclose(x, x),
    "transpose": numpy.transpose,
    "modf": numpy.modf,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("backend", ["numpy", "strict"])
def test_numpy_functions_run_on_the_values(backend: str, name: str) -> None:
    result, expected = CALLS[name](tt.asarray(A, device=backend)), CALLS[name](A)
    assert type(result) is type(expected)
    assert numpy.array_equal(result, expected)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("sum", r"write tinytorch\.sum\(x\), or numpy\.sum\(x\.detach\(\)\)"),
        ("exp", r"write tinytorch\.exp\(x\), or numpy\.exp\(x\.detach\(\)\)"),
        ("concatenate", r"write tt\.concat\(\[x, y\], axis=\.\.\.\), or numpy\.concatenate"),
        ("add.reduce", r"write numpy\.add\.reduce\(x\.detach\(\)\)"),
        ("modf", r"write numpy\.modf\(x\.detach\(\)\)"),
    ],
)
def test_they_raise_if_a_gradient_would_be_lost_and_name_our_function(name: str, instead: str) -> None:
    with pytest.raises(RuntimeError, match=instead):
        CALLS[name](frozen(A, requires_grad=True))


@pytest.mark.parametrize("name", ["sum", "exp", "concatenate"])
def test_they_raise_for_a_tensor_on_another_device(name: str) -> None:
    with pytest.raises(tt.BackendMismatchError, match=rf"numpy\.{name}\(x\) expected x on the host, but it is on strict:device1"):
        CALLS[name](tt.asarray(A, device="strict:device1"))


def test_functions_that_read_no_values_accept_every_tensor() -> None:
    x = frozen(A, requires_grad=True)
    assert (numpy.shape(x), numpy.ndim(x), numpy.size(x)) == ((2, 3), 2, 6)


def test_arrays_are_not_written_through_a_function_of_numpy() -> None:
    x = tt.asarray(A, device="numpy")
    with pytest.raises(ValueError, match="read-only"):
        numpy.copyto(x, 0.0)
    assert x.tolist() == A.tolist()


def test_an_update_of_an_array_in_place_uses_the_values() -> None:
    array = numpy.ones(2, numpy.float32)
    array += tt.asarray([1.0, 2.0], device="numpy")
    assert array.tolist() == [2, 3]
    with pytest.raises(RuntimeError, match=r"numpy\.add\(x\).*would lose the gradient"):
        array += tt.Tensor([1.0, 2.0], device="numpy", requires_grad=True)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_array_as_left_operand_calls_the_operator_of_the_tensor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(tt.Tensor, OPERATORS[name][1], lambda self, other: calls.append(other) or self)
    x, array = tt.asarray([1, 2], device="numpy"), numpy.asarray([3, 4])
    assert getattr(numpy, name)(array, x) is x
    assert calls[0] is array


def test_numpy_scalars_keep_the_gradient_of_the_tensor() -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    (numpy.float64(3) * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3, 3]
