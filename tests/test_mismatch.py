"""Operands on different backends or devices raise, with the operation, both devices and a hint.

NumPy arrays beside a device raise too; `tests/test_host_input.py` has those beside Tensors on the host.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt

DEVICES = {"backends": ("numpy:cpu", "strict:cpu"), "devices": ("strict:cpu", "strict:device1")}

#: Functions of two vectors.
BINARY = [
    *("add", "atan2", "copysign", "divide", "equal", "floor_divide", "greater", "greater_equal", "hypot", "less", "less_equal"),
    *("logaddexp", "matmul", "maximum", "minimum", "multiply", "nextafter", "not_equal", "pow", "remainder", "subtract", "vecdot"),
    *("broadcast_arrays", "searchsorted", "linalg.vecdot"),
]

#: Calls by the name in the error message. x and i are on one device, y and j on the other: two vectors and two index arrays.
CALLS: dict[str, list[Callable[[Any, Any, Any, Any], Any]]] = {
    "clip": [lambda x, y, i, j: tt.clip(x, y), lambda x, y, i, j: tt.clip(x, max=y)],
    "concat": [lambda x, y, i, j: tt.concat([x, y]), lambda x, y, i, j: tt.diff(x, append=y)],
    "stack": [lambda x, y, i, j: tt.stack([x, y])],
    "broadcast_arrays": [lambda x, y, i, j: tt.meshgrid(x, y)],
    "where": [lambda x, y, i, j: tt.where(x > 0, x, y), lambda x, y, i, j: tt.where(x > 0, y, 0.0)],
    "bitwise_and": [lambda x, y, i, j: i & j, lambda x, y, i, j: operator.iand(i, j)],
    "bitwise_left_shift": [lambda x, y, i, j: i << j],
    "logical_or": [lambda x, y, i, j: tt.logical_or(x > 0, y > 0)],
    "tensordot": [lambda x, y, i, j: tt.tensordot(x, y, axes=1)],
    "take": [lambda x, y, i, j: tt.take(x, j)],
    "take_along_axis": [lambda x, y, i, j: tt.take_along_axis(x, j)],
    "repeat": [lambda x, y, i, j: tt.repeat(x, j)],
    "searchsorted": [lambda x, y, i, j: tt.searchsorted(x, x, sorter=j)],
    "solve": [lambda x, y, i, j: tt.linalg.solve(tt.linalg.outer(x, x), y)],
    "getitem": [lambda x, y, i, j: x[j], lambda x, y, i, j: x[y > 0]],
    "setitem": [lambda x, y, i, j: operator.setitem(x, 0, y[0]), lambda x, y, i, j: operator.setitem(x, y > 0, 1.0)],
    **{name: [lambda x, y, i, j, f=name: getattr(operator, f"i{f}")(x, y)] for name in ("add", "matmul", "pow")},
    "jvp": [lambda x, y, i, j: tt.jvp(tt.sin, (x,), (y,))],
    "vjp_fn": [lambda x, y, i, j: tt.vjp(tt.sin, x)[1](y)],
    "gradient": [lambda x, y, i, j: (tt.Tensor(x, requires_grad=True) * 2).backward(y)],
}
for _name in BINARY:
    CALLS.setdefault(_name.rpartition(".")[2], []).append(lambda x, y, i, j, f=_name: operator.attrgetter(f)(tt)(x, y))

MESSAGE = re.compile(r"(.*): one operand is on (.*) and another on (.*); move one of them, as in x\.to\('(.*)'\)")

#: The function that creates an array, by library.
ARRAYS = {"array_api_strict": "asarray", "torch": "tensor", "jax.numpy": "asarray"}


@pytest.mark.parametrize("devices", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("name", CALLS)
def test_operands_on_two_devices_raise(name: str, devices: tuple[str, str]) -> None:
    for call in CALLS[name]:
        for pair in (devices, devices[::-1]):
            x, y = [tt.asarray([1.0, 2.0], device=device) for device in pair]
            i, j = [tt.asarray([1, 0], device=device) for device in pair]
            with pytest.raises(tt.BackendMismatchError) as caught:
                call(x, y, i, j)
            message = MESSAGE.fullmatch(str(caught.value))
            assert message, caught.value
            operation, first, second, target = message.groups()
            assert operation == name
            assert {first, second} == set(devices)
            assert target == first
            assert x.tolist() == [1.0, 2.0]


def test_the_hint_of_the_error_works() -> None:
    x, y = tt.asarray([1.0, 2.0], device="numpy"), tt.asarray([3.0, 4.0], device="strict")
    assert (x + y.to("numpy:cpu")).tolist() == [4.0, 6.0]
    assert (x + tt.asarray(numpy.asarray([3.0, 4.0]), device=x.device)).tolist() == [4.0, 6.0]


def array_of(library: str) -> Any:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    return getattr(module, ARRAYS[library])([3.0, 4.0])


@pytest.mark.parametrize("library", ARRAYS)
def test_arrays_of_other_libraries_raise(library: str) -> None:
    x, array = tt.asarray([1.0, 2.0], device="numpy"), array_of(library)
    kind = re.escape(f"{type(array).__module__}.{type(array).__name__}")
    calls = [lambda: x + array, lambda: x <= array, lambda: operator.imul(x, array), lambda: operator.setitem(x, ..., array)]
    calls += [lambda: tt.add(x, array), lambda: tt.concat([x, array]), lambda: tt.where(x > 0, x, array), lambda: tt.clip(x, array)]
    for call in calls:
        with pytest.raises(tt.BackendMismatchError, match=rf"{kind}.*; convert it first with tinytorch\.asarray\(x, device="):
            call()
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("library", ["torch", "jax.numpy"])  # array-api-strict raises before it calls the right operand
def test_they_raise_as_left_operands_too(library: str) -> None:
    x, array = tt.asarray([1.0, 2.0], device="numpy"), array_of(library)
    for symbol in (operator.add, operator.lt, operator.pow):
        with pytest.raises(tt.BackendMismatchError, match="convert it first with tinytorch"):
            symbol(array, x)


DEVICE = "strict:device1"

#: Calls with a Tensor on a device and a NumPy array.
WITH_ARRAYS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, array: x + array,
    "==": lambda x, array: array == x,
    "add": lambda x, array: tt.add(x, array),
    "concat": lambda x, array: tt.concat([x, array]),
    "where": lambda x, array: tt.where(x > 0, x, array),
    "take": lambda x, array: tt.take(x, array),
    "setitem": lambda x, array: operator.setitem(x, ..., array),
    "the differentiated function": lambda x, array: tt.grad(tt.sum)(array),
    "jvp": lambda x, array: tt.jvp(tt.sin, (x,), (array,)),
    "vjp_fn": lambda x, array: tt.vjp(tt.sin, x)[1](array),
}


@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_a_numpy_array_is_not_copied_to_a_device_implicitly(name: str) -> None:
    with tt.use_backend(DEVICE):
        x = tt.asarray([1.0, 2.0])
        expected = (
            rf"{re.escape(name)} expected Tensors on {DEVICE}, got numpy\.ndarray; convert it first with tinytorch\.asarray\(x, device="
        )
        with pytest.raises(tt.BackendMismatchError, match=expected):
            WITH_ARRAYS[name](x, numpy.float32([3.0, 4.0]))
        assert x.tolist() == [1.0, 2.0]


def test_a_python_float_is_not_differentiated_on_a_device() -> None:
    with tt.use_backend(DEVICE), pytest.raises(tt.BackendMismatchError, match=r"expected Tensors on strict:device1, got builtins\.float"):
        tt.grad(lambda x: x * x)(3.0)


def test_a_masked_array_raises_since_a_tensor_has_no_mask() -> None:
    with pytest.raises(tt.BackendMismatchError, match="convert it first"):
        tt.asarray([1.0, 2.0], device="numpy") * numpy.ma.masked_array([1.0, 2.0], [True, False])
