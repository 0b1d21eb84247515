"""Functions that others wrote for the standard differentiate unchanged, on a backend that is not the default one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_extra as xpx
import numpy
import pytest

import tinytorch as tt
from tests.helpers import check_gradients, frozen
from tinytorch.backend import Backend

_random = numpy.random.default_rng(3)


def normal(*shape: int) -> Any:
    return _random.normal(size=shape)


def positive(*shape: int) -> Any:
    return _random.uniform(0.5, 2, shape)


def xp_of(x: Any) -> Any:
    return x.__array_namespace__()


EXTRA: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "angle": (lambda x, y: xpx.angle(xp_of(x).astype(x, tt.complex128) + y * 1j), (positive(3), positive(3))),
    "apply_where": (lambda x: xpx.apply_where(x > 0, x, lambda x: x**2, lambda x: -x), (normal(4),)),
    "at.add": (lambda x, y: xpx.at(x)[1:].add(y, copy=True) ** 2, (normal(3), normal(2))),
    "at.maximum": (lambda x: xpx.at(x)[1:].max(0.1, copy=True), (normal(4),)),
    "at.multiply": (lambda x, y: xpx.at(x)[1:].multiply(y, copy=True), (normal(3), normal(2))),
    "at.set": (lambda x, y: xpx.at(x)[1:].set(y, copy=True) ** 2, (normal(3), normal(2))),
    "atleast_nd": (lambda x: xpx.atleast_nd(x, ndim=3) ** 2, (normal(3),)),
    "cov": (xpx.cov, (normal(3, 5),)),
    "create_diagonal": (lambda x: xpx.create_diagonal(x) ** 2, (normal(3),)),
    "kron": (xpx.kron, (normal(2, 2), normal(2, 3))),
    "one_hot": (lambda x: x * xpx.one_hot(xp_of(x).asarray([0, 2, 1]), 3, dtype=x.dtype), (normal(3, 3),)),
    "nan_to_num": (lambda x: xpx.nan_to_num(x) ** 2, (normal(3),)),
    "nanmean": (lambda x: xpx.nanmean(x**2), (normal(3),)),
    "pad": (lambda x: xpx.pad(x, 2) ** 2, (normal(2, 3),)),
    "partition": (lambda x: xpx.partition(x, 2) ** 2, (normal(5),)),
    "sinc": (xpx.sinc, (normal(4),)),
    "tril_indices": (lambda x: x[xpx.tril_indices(3, xp=xp_of(x))] ** 2, (normal(3, 3),)),
}

#: Names in scipy, with what stays inside the namespace.
SCIPY: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "special.logsumexp": (lambda f, x: f(x, axis=-1), (normal(2, 3),)),
    "special.softmax": (lambda f, x: f(x, axis=-1), (normal(2, 3),)),
    "special.log_softmax": (lambda f, x: f(x, axis=-1), (normal(2, 3),)),
    "stats.gmean": (lambda f, x: f(x), (positive(4),)),
    "stats.hmean": (lambda f, x: f(x), (positive(4),)),
    "stats.pmean": (lambda f, x: f(x, 3), (positive(4),)),
    "stats.moment": (lambda f, x: f(x, 3), (normal(5),)),
    "stats.skew": (lambda f, x: f(x), (normal(5),)),
    "stats.kurtosis": (lambda f, x: f(x), (normal(5),)),
    "stats.zscore": (lambda f, x: f(x), (normal(5),)),
    "stats.quantile": (lambda f, x: f(x, 0.3), (normal(6),)),
    "integrate.trapezoid": (lambda f, x: f(x**2), (normal(4),)),
    "integrate.cumulative_simpson": (lambda f, x: f(x**2), (normal(5),)),
    "special.rel_entr": (lambda f, x, y: f(x, y), (positive(3), positive(3))),
    "signal.hilbert": (lambda f, x: abs(f(x)), (normal(6),)),
    "signal.fftconvolve": (lambda f, x, y: f(x, y), (normal(5), normal(3))),
    "optimize.rosen": (lambda f, x: f(x), (normal(4),)),
}

#: Those that go through numpy, by which a gradient would be lost; a newer scipy may keep some of them inside the namespace.
LEAVING: dict[str, tuple[Any, ...]] = {
    "special.gammaln": (positive(3),),
    "special.erf": (normal(3),),
    "special.expit": (normal(3),),
    "special.entr": (positive(3),),
    "stats.entropy": (positive(4),),
    "integrate.simpson": (normal(5),),
    "signal.detrend": (normal(5),),
    "cluster.vq.vq": (normal(4, 2), normal(2, 2)),
    "linalg.inv": (normal(3, 3),),
}


def from_scipy(name: str) -> Callable[..., Any]:
    """A function of scipy, which comes with scikit-learn in the test environment."""
    module, _, function = name.rpartition(".")
    found = pytest.importorskip(f"scipy.{module}", reason="scipy is not installed")
    return getattr(found, function)  # type: ignore[no-any-return]


def elsewhere(function: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """The function, called while another backend than the operands' is the chosen one."""
    other = tt.get_backend("strict" if backend.name == "numpy" else "numpy")

    def call(*tensors: Any) -> Any:
        with tt.use_backend(other):
            return function(*tensors)

    return call


@pytest.mark.parametrize("name", EXTRA)
def test_array_api_extra_differentiates(backend: Backend, name: str) -> None:
    function, inputs = EXTRA[name]
    check_gradients(elsewhere(function, backend), *inputs)


@pytest.mark.parametrize("name", SCIPY)
def test_scipy_differentiates(backend: Backend, name: str) -> None:
    call, inputs = SCIPY[name]
    function = from_scipy(name)
    check_gradients(elsewhere(lambda *tensors: call(function, *tensors), backend), *inputs)


@pytest.mark.parametrize("name", LEAVING)
def test_what_leaves_through_numpy_raises_and_loses_no_gradient(backend: Backend, name: str) -> None:
    tensors = [frozen(x, requires_grad=True) for x in LEAVING[name]]
    out = refusal = None
    try:
        out = from_scipy(name)(*tensors)
    except (RuntimeError, TypeError) as error:
        refusal = str(error)
    assert out.requires_grad if refusal is None else "use .detach().numpy()" in refusal


def test_a_function_that_is_handed_to_numpy_raises_with_the_mend(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    with pytest.raises((RuntimeError, TypeError), match=r"use \.detach\(\)\.numpy\(\)"):
        xpx.lazy_apply(numpy.sin, x, as_numpy=True)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_at_leaves_the_callers_tensor_alone(backend: Backend, requires_grad: bool) -> None:
    x = frozen([1.0, 2.0, 3.0], requires_grad=requires_grad)
    raw, node = x.raw, x.node
    y = xpx.at(x)[1:].set(9.0, copy=True)
    assert y.tolist() == [1.0, 9.0, 9.0]
    assert x.raw is raw
    assert x.node is node
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_at_without_a_copy_asks_a_parameter_to_be_updated_without_a_gradient(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"inside `with tinytorch\.no_grad\(\):`"):
        xpx.at(x)[0].set(9.0, copy=False)
    with tt.no_grad():
        assert xpx.at(x)[0].set(9.0, copy=False) is x
    assert x.tolist() == [9.0, 2.0]


def test_elements_that_become_equal_have_no_derivative_and_say_so(backend: Backend) -> None:
    x, y = frozen([1.0, 2.0]), frozen([2.0, 3.0])
    with pytest.raises(tt.NotDifferentiableError, match="unique_values has no derivative"):
        tt.grad(lambda x: tt.sum(xpx.union1d(x, y)))(x)
