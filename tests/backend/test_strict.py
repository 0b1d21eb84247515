"""The strict backend implements the `Backend` interface, on each device that array-api-strict emulates."""

from __future__ import annotations

import importlib
import sys

import numpy
import pytest

from tinytorch.backend import Backend, BackendUnavailableError, get_backend

pytest.importorskip("array_api_strict")

DEVICES = ["cpu", "device1", "device2", "no_float64", "no_x64"]


@pytest.fixture(params=DEVICES)
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(f"strict:{request.param}")


def test_its_default_device_is_the_cpu() -> None:
    assert get_backend("strict") is get_backend("strict:cpu")
    assert get_backend("strict").device == "cpu"


def test_an_unknown_device_lists_the_known_ones() -> None:
    with pytest.raises(
        BackendUnavailableError, match="it has no device 'gpu'; type 'strict' for its CPU, or one of strict:cpu, strict:device1"
    ):
        get_backend("strict:gpu")


def test_a_round_trip_keeps_the_values(backend: Backend) -> None:
    host = numpy.asfortranarray(numpy.arange(6, dtype=numpy.float32).reshape(2, 3))
    back = backend.to_host(backend.from_host(host))
    assert back.dtype == numpy.float32
    assert back.tolist() == host.tolist()


@pytest.mark.parametrize("name", ["bool", "int32", "complex64"])
def test_a_round_trip_keeps_dtype_and_shape(backend: Backend, name: str) -> None:
    array = backend.from_host(numpy.ones((2, 0, 3)), name)
    assert backend.dtype_of(array).name == name
    assert (backend.to_host(array).dtype.name, backend.to_host(array).shape) == (name, (2, 0, 3))
    assert backend.to_host(backend.from_host(numpy.array(1), name)).shape == ()


def test_from_host_copies_to_the_device(backend: Backend) -> None:
    host = numpy.zeros(3, dtype=numpy.float32)
    array = backend.from_host(host)
    host[0] = 1
    assert backend.owns(array)
    assert backend.to_host(array).tolist() == [0, 0, 0]


def test_to_host_is_read_only_and_leaves_the_array_writable(backend: Backend) -> None:
    array = backend.from_host(numpy.zeros(3), "float32")
    assert not backend.to_host(array).flags.writeable
    array[0] = 1
    assert backend.to_host(array).tolist() == [1, 0, 0]


def test_creation_functions_create_arrays_on_the_device(backend: Backend) -> None:
    xp, float32 = backend.xp, backend.dtype("float32")
    created = [
        xp.arange(3, dtype=float32),
        xp.asarray([1.0, 2.0]),
        xp.empty((2,)),
        xp.empty_like(xp.zeros((2,))),
        xp.eye(2),
        xp.full((2,), 1.0),
        xp.linspace(0.0, 1.0, 3),
        xp.ones((2,), device=None),
        xp.zeros((2,)),
        xp.tril(xp.ones((2, 2))),
        xp.fft.fftfreq(4),
    ]
    assert all(backend.owns(array) for array in created)


def test_asarray_does_not_move_an_array_of_another_device() -> None:
    here, there = get_backend("strict:device1"), get_backend("strict:device2")
    array = here.from_host(numpy.ones(2))
    assert here.owns(there.xp.asarray(array))


def test_it_owns_only_arrays_on_its_device() -> None:
    arrays = {device: get_backend(f"strict:{device}").from_host(numpy.ones(2), "float32") for device in DEVICES}
    for here in DEVICES:
        assert [there for there in DEVICES if get_backend(f"strict:{here}").owns(arrays[there])] == [here]
    assert not get_backend("strict").owns(numpy.ones(2))


def test_it_raises_for_float16(backend: Backend) -> None:
    assert not {"float16", "bfloat16"} & backend.capabilities.dtypes
    with pytest.raises(TypeError, match="the strict backend has no data type float16; it has bool"):
        backend.from_host(numpy.ones(2), "float16")


def test_devices_without_64_bit_dtypes_do_not_list_them() -> None:
    assert {"float64", "int64"} <= get_backend("strict").capabilities.dtypes
    assert {"float64", "int64"} & get_backend("strict:no_float64").capabilities.dtypes == {"int64"}
    assert not {"float64", "int64"} & get_backend("strict:no_x64").capabilities.dtypes
    assert get_backend("strict:no_x64").default_int == "int32"
    with pytest.raises(TypeError, match="the strict backend has no data type float64"):
        get_backend("strict:no_x64").from_host(numpy.ones(2))


def test_a_missing_package_raises_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    for name in [name for name in sys.modules if name.startswith("tinytorch_strict.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BackendUnavailableError, match="array-api-strict is not installed; type `pip install array-api-strict`"):
        importlib.import_module("tinytorch_strict").create_backend()
