"""Dtypes of created Tensors: numpy scalars keep their dtype, Python numbers get the default."""

from __future__ import annotations

import array
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tinytorch.backend import Backend


@pytest.mark.parametrize(
    "values",
    [
        [numpy.int32(1)],
        [numpy.ones(2)],
        [[numpy.float32(1)], [numpy.float32(2)]],
        ((numpy.uint8(1), numpy.uint8(2)), (numpy.uint8(3), numpy.uint8(4))),
        [1, numpy.int32(2)],
        [1.5, numpy.float64(2)],
        [[numpy.complex128(1j)]],
        [numpy.True_, False],
        array.array("d", [1.0]),
    ],
    ids=repr,
)
def test_a_list_with_numpy_scalars_gets_the_dtype_that_numpy_gives_it(backend: Backend, values: Any) -> None:
    assert_close(tt.asarray(values), numpy.asarray(values))
    assert_close(tt.Tensor(values), numpy.asarray(values))


@pytest.mark.parametrize("value", [numpy.int32(3), numpy.float64(0.5), numpy.float32(0.5), numpy.True_, numpy.complex64(1j)], ids=repr)
def test_full_with_a_numpy_scalar_has_the_dtype_of_the_scalar(backend: Backend, value: Any) -> None:
    assert_close(tt.full((2,), value), numpy.full(2, value))
    assert_close(tt.full_like(tt.zeros(2, dtype=str(value.dtype)), value), numpy.full(2, value))


def test_arange_and_linspace_treat_numpy_scalars_as_python_numbers(backend: Backend) -> None:
    one, four, two = numpy.int32(1), numpy.int64(4), numpy.uint8(2)
    assert_close(tt.arange(four), numpy.asarray([0, 1, 2, 3], backend.default_int))
    assert_close(tt.arange(one, four, two), numpy.asarray([1, 3], backend.default_int))
    assert_close(tt.linspace(numpy.float64(0), numpy.complex64(1j), numpy.int64(2)), numpy.complex64([0, 1j]))
    assert_close(tt.zeros((two, one)), numpy.zeros((2, 1), numpy.float32))
    assert_close(tt.full(two, tt.asarray(1.0)), numpy.ones(2, numpy.float32))


@pytest.mark.parametrize("create", [tt.zeros, tt.ones, tt.empty])
def test_the_shape_may_be_passed_one_length_at_a_time(backend: Backend, create: Any) -> None:
    assert create(2, 3).shape == create(numpy.int64(2), 3).shape == create((2, 3)).shape == (2, 3)
    assert create(2, 3, dtype="float64").dtype is tt.float64
    assert create(2).shape == (2,)
    with pytest.raises(TypeError, match=r"expected a tuple or lengths, got \(2, 3\) and .*; pass the dtype by name, as in dtype='float64'"):
        create((2, 3), tt.float64)
    with pytest.raises(TypeError, match="pass the dtype by name"):
        create(2, "float64")
