"""The torch plugin: its devices, its two transfer points, and what it fills in for PyTorch."""

from __future__ import annotations

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close
from tinytorch.backend import BackendUnavailableError, get_backend

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(autouse=True)
def chosen() -> object:
    with tt.use_backend("torch:cpu"):
        yield


def test_the_name_alone_means_the_device_that_torch_finds() -> None:
    assert get_backend("torch").device.startswith("cuda" if torch.cuda.is_available() else "cpu")
    assert get_backend("torch:cpu") is get_backend("torch:cpu")


@pytest.mark.parametrize("device", ["cuda:99", "typewriter"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(BackendUnavailableError, match=rf"has no device '{device}' \(.*\); type 'torch:cpu' for the CPU"):
        get_backend(f"torch:{device}")


def test_a_tensor_of_torchs_own_becomes_ours_and_keeps_its_values() -> None:
    own = torch.arange(3.0)
    x = tt.asarray(own)
    own[0] = 7.0
    assert_close(x, numpy.float32([0, 1, 2]))


def test_a_tensor_that_carries_torchs_gradient_is_refused() -> None:
    with pytest.raises(TypeError, match=r"requires grad in PyTorch's autograd, which tinytorch does not continue; pass x\.detach\(\)"):
        tt.asarray(torch.ones(2, requires_grad=True))


def test_host_arrays_are_copied_and_what_comes_back_is_read_only() -> None:
    backend = tt.current_backend()
    array = numpy.ones(2, dtype=numpy.float32)
    array.setflags(write=False)
    raw = backend.from_host(array)
    raw += 1
    assert array.tolist() == [1, 1]
    with pytest.raises(ValueError, match="read-only"):
        backend.to_host(raw)[0] = 5


def test_host_arrays_may_have_their_bytes_in_another_order() -> None:
    assert_close(tt.asarray(numpy.array([1.5, 2.5], dtype=">f8")), numpy.float64([1.5, 2.5]))


def test_a_type_that_pytorch_lacks_is_named() -> None:
    with pytest.raises(TypeError, match="the torch backend has no data type datetime64"):
        tt.asarray(numpy.array(["2020"], dtype="M8[D]"))


def test_bfloat16_stays_itself_on_the_way_to_another_library_and_back() -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    x = tt.asarray([1.5, 2.5], dtype=tt.bfloat16)
    there = x.to("jax")
    assert there.dtype is there.to("torch:cpu").dtype is tt.bfloat16
    assert there.to("torch:cpu").tolist() == [1.5, 2.5]
    assert x.to("numpy").dtype is tt.float32  # which has no bfloat16
    gradient = tt.grad(lambda x: tt.sum(x.to("jax") * 2).to("torch:cpu"))(x)
    assert (gradient.dtype, gradient.tolist()) == (tt.bfloat16, [2.0, 2.0])


def test_bfloat16_comes_to_the_host_as_float32() -> None:
    x = tt.asarray([1.5, 2.5], dtype=tt.bfloat16)
    assert x.dtype is tt.bfloat16
    assert (x.numpy().dtype, x.tolist()) == (numpy.float32, [1.5, 2.5])


def test_our_tape_does_the_differentiating() -> None:
    x = tt.asarray([1.0, 2.0])
    gradient = tt.grad(lambda x: tt.sum(x * x))(x)
    assert_close(gradient, numpy.float32([2, 4]))
    assert not gradient.raw.requires_grad


def test_steps_backwards_and_whole_corrections_are_not_needed() -> None:
    x = tt.asarray([[1.0, 2.0, 4.0], [0.0, 3.0, 9.0]], dtype=tt.float64)
    assert_close(x[::-1, ::-2], numpy.float64([[9, 0], [4, 1]]))
    assert_close(tt.std(x, axis=1, correction=0.5), numpy.std([[1, 2, 4], [0, 3, 9]], axis=1, ddof=0.5), rtol=1e-12)


def test_unique_all_gives_where_each_value_is_first() -> None:
    found = tt.unique_all(tt.asarray([3, 1, 3, 2, 1]))
    assert [part.tolist() for part in found] == [[1, 2, 3], [1, 3, 0], [2, 0, 2, 1, 0], [2, 1, 2]]
