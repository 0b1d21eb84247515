"""The `fft` extension: availability, frequencies, dtypes and errors. The table of calls tests values and derivatives of the transforms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import assert_close, check_gradients, frozen
from tinytorch import array_api
from tinytorch.array_api.namespace import BoundNamespace
from tinytorch.backend import Backend

FREQUENCIES = ("fftfreq", "rfftfreq")


class WithoutFFT:
    """The functions of a namespace without `fft`."""

    def __init__(self, namespace: Any) -> None:
        self.__dict__.update({name: getattr(namespace, name) for name in dir(namespace) if name != "fft"})


def test_a_namespace_has_the_extension_if_its_array_library_has_it(backend: Backend) -> None:
    assert hasattr(backend.namespace, "fft") is hasattr(backend.xp, "fft")


def test_a_namespace_lacks_the_extension_if_its_array_library_lacks_it(backend: Backend) -> None:
    backend_without_fft: Any = SimpleNamespace(spec=backend.spec, xp=WithoutFFT(backend.xp))
    namespace = BoundNamespace(backend_without_fft, array_api)
    assert not hasattr(namespace, "fft")
    assert hasattr(namespace, "linalg")


@pytest.mark.parametrize("name", FREQUENCIES)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies_equal_those_of_numpy(backend: Backend, name: str, n: int) -> None:
    ours, theirs = getattr(tt.fft, name), getattr(numpy.fft, name)
    assert_close(ours(n), theirs(n).astype(numpy.float32))
    assert_close(ours(n, d=0.1, dtype=tt.float64), theirs(n, d=0.1), rtol=1e-15)


@pytest.mark.parametrize("name", FREQUENCIES)
def test_frequencies_of_a_bound_namespace_are_on_its_device(name: str) -> None:
    x = tt.ones(4, device="strict:device1")
    frequencies = getattr(x.__array_namespace__().fft, name)
    assert frequencies(4).device == x.device
    assert frequencies(4, device="numpy").device == tt.ones(1, device="numpy").device


def test_frequencies_are_differentiable_with_respect_to_the_spacing(backend: Backend) -> None:
    check_gradients(lambda d: tt.fft.fftfreq(5, d=d, dtype=tt.float64), 0.5)


@pytest.mark.parametrize(("real", "transformed"), [("float32", "complex64"), ("float64", "complex128")])
def test_a_transform_keeps_the_precision(backend: Backend, real: str, transformed: str) -> None:
    x = frozen([1.0, 2.0, 4.0], dtype=real)
    spectrum = tt.fft.rfft(x)
    assert spectrum.dtype.name == transformed
    assert tt.fft.irfft(spectrum, n=3).dtype.name == real
    assert tt.grad(lambda x: tt.sum(tt.abs(tt.fft.rfft(x)) ** 2))(x).dtype.name == real


def test_the_gradient_of_the_spectral_energy_follows_parsevals_theorem(backend: Backend) -> None:
    """The energy of a spectrum is n times that of its signal, so its gradient is 2 n x."""
    x = numpy.float64([1, -2, 0.5, 3])
    assert_close(tt.grad(lambda x: tt.sum(tt.abs(tt.fft.fft(tt.astype(x, tt.complex128))) ** 2))(frozen(x)), 8 * x, rtol=1e-12)


@pytest.mark.parametrize("name", ["fft", "irfft", "hfft", "ihfft"])
def test_an_unknown_norm_raises(backend: Backend, name: str) -> None:
    x = frozen([1.0, 2.0], dtype="float32" if name == "ihfft" else "complex64")
    with pytest.raises((ValueError, RuntimeError), match="orthonormal"):
        getattr(tt.fft, name)(x, norm="orthonormal")
