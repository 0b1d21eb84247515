"""The numpy backend implements the `Backend` interface."""

from __future__ import annotations

import numpy
import pytest

from tinytorch.backend import Backend, BackendUnavailableError, get_backend


@pytest.fixture
def backend() -> Backend:
    return get_backend("numpy")


def test_it_owns_arrays_and_numpy_scalars(backend: Backend) -> None:
    array = numpy.ones(3)
    assert backend.owns(array)
    assert backend.owns(array.sum())
    assert not backend.owns(1.0)
    assert not backend.owns([1.0])


def test_it_does_not_own_subclasses_of_ndarray(backend: Backend) -> None:
    assert not backend.owns(numpy.ma.masked_array([1.0, 2.0], mask=[True, False]))


def test_from_host_copies(backend: Backend) -> None:
    host = numpy.zeros(3, dtype=numpy.float32)
    array = backend.from_host(host)
    host[0] = 1
    assert array.tolist() == [0, 0, 0]


def test_from_host_converts_to_the_named_dtype(backend: Backend) -> None:
    assert backend.from_host(numpy.ones(2), "float32").dtype == numpy.float32
    assert backend.from_host(numpy.ones(2)).dtype == numpy.float64


def test_from_host_returns_native_byte_order_and_c_order(backend: Backend) -> None:
    big_endian_fortran_order = numpy.asfortranarray(numpy.arange(6, dtype=">i4").reshape(2, 3))
    array = backend.from_host(big_endian_fortran_order)
    assert backend.dtype_of(array).name == "int32"
    assert array.flags.c_contiguous
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_from_host_raises_for_an_object_array(backend: Backend) -> None:
    with pytest.raises(TypeError, match="the numpy backend has no data type object; it has bool, int8"):
        backend.from_host(numpy.array([None]))


def test_to_host_is_read_only_and_leaves_the_array_writable(backend: Backend) -> None:
    array = backend.from_host(numpy.zeros(3))
    host = backend.to_host(array)
    with pytest.raises(ValueError, match="read-only"):
        host[0] = 1
    array[0] = 1
    assert host[0] == 1  # a view: host arrays are not copied


def test_to_host_converts_a_scalar_to_an_array(backend: Backend) -> None:
    host = backend.to_host(numpy.float32(2))
    assert type(host) is numpy.ndarray
    assert (host.shape, host.dtype) == ((), numpy.float32)


def test_it_has_the_dtypes_of_the_standard_and_float16(backend: Backend) -> None:
    for name in backend.capabilities.dtypes:
        assert backend.dtype_of(backend.xp.empty((0,), dtype=backend.dtype(name))).name == name
    assert {"bool", "int64", "float16", "float64", "complex128"} <= backend.capabilities.dtypes
    with pytest.raises(TypeError, match="the numpy backend has no data type bfloat16"):
        backend.dtype("bfloat16")


def test_its_only_device_is_the_cpu(backend: Backend) -> None:
    assert backend.device == "cpu"
    with pytest.raises(BackendUnavailableError, match="it has no device 'gpu', only 'cpu'; type 'numpy', or 'cupy' for a CUDA GPU"):
        get_backend("numpy:gpu")


def test_its_namespace_has_the_names_of_the_standard(backend: Backend) -> None:
    assert backend.xp.__array_api_version__ >= "2024.12"
    assert backend.xp.permute_dims(backend.xp.zeros((2, 3)), (1, 0)).shape == (3, 2)
