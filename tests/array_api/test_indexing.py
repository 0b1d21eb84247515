"""Indexing and assignment: valid indices, bounds checks, and gradients of repeated indices."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, frozen
from tinytorch.array_api.segment_sum import _segment_sum
from tinytorch.backend import Backend

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_indices_may_have_any_integer_dtype(backend: Backend, dtype: str) -> None:
    """PyTorch treats uint8 indices as a mask."""
    if dtype not in backend.capabilities.dtypes:
        pytest.skip(f"{backend.name} has no {dtype} here")
    x, weights = frozen(numpy.float64([1, 2, 3])), frozen(numpy.float64([5, 7]))
    i = tt.asarray([2, 0], dtype=dtype)
    for read in (lambda x: x[i], lambda x: tt.take(x, i), lambda x: tt.take_along_axis(x, i)):
        assert_close(read(x), numpy.float64([3, 1]))
        assert_close(tt.grad(lambda x, read=read: tt.sum(read(x) * weights))(x), numpy.float64([7, 0, 5]))
    assert_close(tt.repeat(x[:2], i), numpy.float64([1, 1]))


def test_the_gradient_of_a_2d_index_array_adds_up_repeated_rows(backend: Backend) -> None:
    if backend.name == "strict":
        pytest.skip("array-api-strict requires an integer array for every axis")
    x, i = frozen(numpy.arange(12.0).reshape(3, 4)), frozen([[0, 2], [2, -1]])
    weights = numpy.random.default_rng(0).normal(size=(2, 2, 4))
    expected = numpy.zeros((3, 4))
    numpy.add.at(expected, [[0, 2], [2, 2]], weights)
    assert_close(tt.grad(lambda x: tt.sum(x[i] * frozen(weights)))(x), expected)


@pytest.mark.parametrize(
    "key", [3, -4, (0, 2), (..., -3), (None, 3), (slice(None), None, 2), numpy.int64(3), (numpy.uint8(0), numpy.int32(-3))]
)
def test_an_out_of_bounds_integer_raises_on_every_backend(backend: Backend, key: Any) -> None:
    x = tt.zeros((3, 2) if isinstance(key, tuple) and key[0] is not None else 3)
    with pytest.raises(IndexError):
        x[key]
    with pytest.raises(IndexError):
        x[key] = 1.0


@pytest.mark.parametrize("out_of_bounds", [3, -4, 100])
@pytest.mark.parametrize(
    "where", ["alone", "after an array", "after an integer", "after a slice", "as a matrix", "after a mask", "after ..."]
)
def test_an_out_of_bounds_element_of_an_index_array_raises_on_every_backend(backend: Backend, where: str, out_of_bounds: int) -> None:
    x, i, zeros = tt.zeros((2, 3, 3)), tt.asarray([0, out_of_bounds]), tt.asarray([0, 1])
    keys = {
        "alone": (tt.zeros(3), i),
        "after an array": (x, (zeros, zeros, i)),
        "after an integer": (x, (0, zeros, i)),
        "after a slice": (x, (slice(None), i)),
        "as a matrix": (x, (slice(None), slice(None), tt.reshape(i, (2, 1)))),
        "after a mask": (x, (tt.ones((2, 3), dtype="bool"), tt.asarray([out_of_bounds]))),
        "after ...": (x, (..., i, None)),
    }
    if backend.name == "strict" and where not in ("alone", "after an array"):
        pytest.skip("array-api-strict requires integer arrays for all axes, without slices or masks")
    x, key = keys[where]
    with pytest.raises(IndexError):
        x[key]
    if backend.name != "strict":
        with pytest.raises(IndexError):
            x[key] = 1.0


def test_an_integer_next_to_an_index_array_is_checked_too(backend: Backend) -> None:
    with pytest.raises(IndexError, match=r"index 9 is out of bounds for axis 0 of shape \(2, 3\)"):
        tt.zeros((2, 3))[9, tt.asarray([0])]


@pytest.mark.parametrize("out_of_bounds", [3, -4, 100])
def test_take_with_an_out_of_bounds_index_raises_on_every_backend(backend: Backend, out_of_bounds: int) -> None:
    x = tt.zeros((2, 3))
    with pytest.raises(IndexError):
        tt.take(x, tt.asarray([0, out_of_bounds]), axis=1)
    with pytest.raises(IndexError):
        tt.take_along_axis(x, tt.asarray([[0], [out_of_bounds]]), axis=1)


def test_take_along_axis_broadcasts_and_accepts_negative_indices(backend: Backend) -> None:
    x = frozen(numpy.arange(12.0).reshape(2, 3, 2))
    assert_close(tt.take_along_axis(x, frozen([[[-1]], [[-3]]]), axis=1), numpy.float64([[[4, 5]], [[6, 7]]]))


def test_take_names_the_invalid_argument(backend: Backend) -> None:
    with pytest.raises(ValueError, match=r"take: `axis` is required unless x is 1-d; x has shape \(2, 2\)"):
        tt.take(tt.zeros((2, 2)), tt.asarray([0]))
    with pytest.raises(ValueError, match=r"take: `indices` must be 1-d, got shape \(1, 2\); use x\[indices\]"):
        tt.take(tt.zeros(2), tt.asarray([[0, 1]]))


def test_of_two_values_assigned_to_one_element_only_the_remaining_one_gets_the_gradient(backend: Backend) -> None:
    if backend.name == "strict":
        pytest.skip("array-api-strict, like the standard, does not allow assignment at integer arrays")
    i = frozen([0, 0, 1])

    def replaced(x: tt.Tensor, value: tt.Tensor) -> tt.Tensor:
        y = +x
        y[i] = value
        return y

    x, value, weights = [frozen(numpy.float64(a)) for a in ([1, 2, 3], [10, 20, 30], [2, 3, 5])]
    remaining = float(replaced(x, value)[0])
    by_x, by_value = tt.grad(lambda x, value: tt.sum(replaced(x, value) * weights), (0, 1))(x, value)
    assert_close(by_x, numpy.float64([0, 0, 5]))
    assert_close(by_value, numpy.float64([2 * (remaining == 10), 2 * (remaining == 20), 3]))


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float32", 1j, "cannot assign complex values to a Tensor of float32"),
        ("int32", 1.5, "cannot assign float values to a Tensor of int32"),
        ("int32", numpy.float32(1.5), "cannot assign float values to a Tensor of int32"),
        ("float32", [1.0, 2.0], "setitem: `value` must be a Tensor or a number, got a list"),
    ],
)
def test_assigning_a_value_that_the_dtype_cannot_represent_raises(backend: Backend, dtype: str, value: Any, message: str) -> None:
    x = tt.zeros(2, dtype=dtype)
    with pytest.raises(TypeError, match=message):
        x[0] = value


# ---- segment sum ----


def segment_sum(rows: numpy.ndarray[Any, Any], indices: numpy.ndarray[Any, Any], length: int) -> numpy.ndarray[Any, Any]:
    expected = numpy.zeros((length, rows.shape[1]), rows.dtype)
    numpy.add.at(expected, indices, rows)
    return expected


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize(
    ("count", "length", "width"), [(0, 3, 2), (5, 1, 1), (40, 200, 1), (40, 7, 3), (300, 5, 6), (300, 400, 6), (50, 70000, 5), (4, 3, 0)]
)
def test_segment_sum_adds_rows_by_index(backend: Backend, dtype: str, count: int, length: int, width: int) -> None:
    if dtype not in backend.capabilities.dtypes:
        pytest.skip(f"{backend.name} has no {dtype} here")
    random = numpy.random.default_rng(0)
    rows = random.normal(size=(count, width)).astype(dtype)
    indices = random.integers(-length, length, count)
    actual = _segment_sum(frozen(rows), frozen(indices.astype(backend.default_int)), length)
    assert_close(actual, segment_sum(rows, indices % length, length), rtol=1e-5, atol=1e-5 if dtype == "float32" else 1e-12)


def test_segment_sum_handles_short_and_long_segments_together(backend: Backend) -> None:
    random = numpy.random.default_rng(0)
    indices = numpy.concatenate([numpy.full(100, 3), numpy.arange(20), numpy.full(17, 5)]).astype(backend.default_int)
    rows = random.normal(size=(len(indices), 8))
    assert_close(_segment_sum(frozen(rows), frozen(indices), 25), segment_sum(rows, indices, 25), rtol=1e-12, atol=1e-14)


def test_a_row_with_nan_affects_only_its_own_segment(backend: Backend) -> None:
    for width in (1, 6):
        rows = numpy.ones((4, width))
        rows[1] = numpy.nan
        actual = _segment_sum(frozen(rows), frozen(numpy.asarray([0, 1, 0, 2], backend.default_int)), 4)
        assert_close(actual, numpy.float64([[2], [numpy.nan], [1], [0]]) + numpy.zeros(width))


def test_the_derivative_of_a_gather_can_be_differentiated(backend: Backend) -> None:
    i = frozen([2, 0, 2, 1])

    def total(x: tt.Tensor) -> tt.Tensor:
        return tt.sum(tt.take(x, i) ** 3)

    second = tt.grad(lambda x: tt.sum(tt.grad(total)(x)))(frozen(numpy.float64([1, 2, 3])))
    assert_close(second, numpy.float64([6, 12, 36]))
