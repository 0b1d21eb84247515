"""The torch plugin: devices, transfers, and functions that PyTorch lacks or defines differently."""

from __future__ import annotations

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tinytorch.backend import BackendUnavailableError, get_backend

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(autouse=True)
def use_torch() -> object:
    with tt.use_backend("torch:cpu"):
        yield


def test_the_default_device_is_cuda_if_available() -> None:
    assert get_backend("torch").device.startswith("cuda" if torch.cuda.is_available() else "cpu")
    assert get_backend("torch:cpu") is get_backend("torch:cpu")


@pytest.mark.parametrize("device", ["cuda:99", "typewriter"])
def test_a_missing_device_raises(device: str) -> None:
    with pytest.raises(BackendUnavailableError, match=rf"has no device '{device}' \(.*\); type 'torch:cpu' for the CPU"):
        get_backend(f"torch:{device}")


def test_asarray_copies_a_torch_tensor() -> None:
    own = torch.arange(3.0)
    x = tt.asarray(own)
    own[0] = 7.0
    assert_close(x, numpy.float32([0, 1, 2]))


def test_a_torch_tensor_that_requires_grad_raises() -> None:
    with pytest.raises(TypeError, match=r"requires grad in PyTorch's autograd, which tinytorch does not continue; pass x\.detach\(\)"):
        tt.asarray(torch.ones(2, requires_grad=True))


def test_from_host_copies_and_to_host_is_read_only() -> None:
    backend = tt.current_backend()
    array = numpy.ones(2, dtype=numpy.float32)
    array.setflags(write=False)
    raw = backend.from_host(array)
    raw += 1
    assert array.tolist() == [1, 1]
    with pytest.raises(ValueError, match="read-only"):
        backend.to_host(raw)[0] = 5


def test_host_arrays_may_have_any_byte_order() -> None:
    assert_close(tt.asarray(numpy.array([1.5, 2.5], dtype=">f8")), numpy.float64([1.5, 2.5]))


def test_a_dtype_that_pytorch_lacks_raises() -> None:
    with pytest.raises(TypeError, match="the torch backend has no data type datetime64"):
        tt.asarray(numpy.array(["2020"], dtype="M8[D]"))


def test_bfloat16_is_kept_when_moved_to_another_library_and_back() -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    x = tt.asarray([1.5, 2.5], dtype=tt.bfloat16)
    there = x.to("jax")
    assert there.dtype is there.to("torch:cpu").dtype is tt.bfloat16
    assert there.to("torch:cpu").tolist() == [1.5, 2.5]
    assert x.to("numpy").dtype is tt.float32  # numpy has no bfloat16
    gradient = tt.grad(lambda x: tt.sum(x.to("jax") * 2).to("torch:cpu"))(x)
    assert (gradient.dtype, gradient.tolist()) == (tt.bfloat16, [2.0, 2.0])


def test_bfloat16_is_float32_on_the_host() -> None:
    x = tt.asarray([1.5, 2.5], dtype=tt.bfloat16)
    assert x.dtype is tt.bfloat16
    assert (x.numpy().dtype, x.tolist()) == (numpy.float32, [1.5, 2.5])


def test_gradients_are_computed_by_tinytorch_not_by_torch() -> None:
    x = tt.asarray([1.0, 2.0])
    gradient = tt.grad(lambda x: tt.sum(x * x))(x)
    assert_close(gradient, numpy.float32([2, 4]))
    assert not gradient.raw.requires_grad


def test_negative_steps_and_fractional_corrections_work() -> None:
    x = tt.asarray([[1.0, 2.0, 4.0], [0.0, 3.0, 9.0]], dtype=tt.float64)
    assert_close(x[::-1, ::-2], numpy.float64([[9, 0], [4, 1]]))
    assert_close(tt.std(x, axis=1, correction=0.5), numpy.std([[1, 2, 4], [0, 3, 9]], axis=1, ddof=0.5), rtol=1e-12)


def test_unique_all_returns_the_index_of_each_first_occurrence() -> None:
    found = tt.unique_all(tt.asarray([3, 1, 3, 2, 1]))
    assert [part.tolist() for part in found] == [[1, 2, 3], [1, 3, 0], [2, 0, 2, 1, 0], [2, 1, 2]]
