"""Functions that other libraries wrote for the standard can be differentiated, also on a backend that is not the current one."""

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

#: Functions of scipy that use only the namespace of their arguments.
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

#: Functions of scipy that convert to numpy, which would lose a gradient; newer versions of scipy may not.
THROUGH_NUMPY: dict[str, tuple[Any, ...]] = {
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
    """A function of scipy, which the test environment installs with scikit-learn."""
    module, _, function = name.rpartition(".")
    found = pytest.importorskip(f"scipy.{module}", reason="scipy is not installed")
    return getattr(found, function)  # type: ignore[no-any-return]


def with_other_backend(function: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """The function, called while the current backend is not the backend of the operands."""
    other = tt.get_backend("strict" if backend.name == "numpy" else "numpy")

    def call(*tensors: Any) -> Any:
        with tt.use_backend(other):
            return function(*tensors)

    return call


@pytest.mark.parametrize("name", EXTRA)
def test_functions_of_array_api_extra_are_differentiable(backend: Backend, name: str) -> None:
    function, inputs = EXTRA[name]
    check_gradients(with_other_backend(function, backend), *inputs)


@pytest.mark.parametrize("name", SCIPY)
def test_functions_of_scipy_are_differentiable(backend: Backend, name: str) -> None:
    call, inputs = SCIPY[name]
    function = from_scipy(name)
    check_gradients(with_other_backend(lambda *tensors: call(function, *tensors), backend), *inputs)


@pytest.mark.parametrize("name", THROUGH_NUMPY)
def test_a_function_that_converts_to_numpy_raises_instead_of_losing_the_gradient(backend: Backend, name: str) -> None:
    tensors = [frozen(x, requires_grad=True) for x in THROUGH_NUMPY[name]]
    out = error_message = None
    try:
        out = from_scipy(name)(*tensors)
    except (RuntimeError, TypeError) as error:
        error_message = str(error)
    assert out.requires_grad if error_message is None else "detach()" in error_message


def test_applying_a_numpy_function_raises_with_a_hint(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    with pytest.raises((RuntimeError, TypeError), match=r"detach\(\)"):
        xpx.lazy_apply(numpy.sin, x, as_numpy=True)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_at_with_a_copy_does_not_change_the_input(backend: Backend, requires_grad: bool) -> None:
    x = frozen([1.0, 2.0, 3.0], requires_grad=requires_grad)
    raw, node = x.raw, x.node
    y = xpx.at(x)[1:].set(9.0, copy=True)
    assert y.tolist() == [1.0, 9.0, 9.0]
    assert x.raw is raw
    assert x.node is node
    assert x.tolist() == [1.0, 2.0, 3.0]


def test_at_without_a_copy_requires_no_grad_for_a_parameter(backend: Backend) -> None:
    x = frozen([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"inside `with tinytorch\.no_grad\(\):`"):
        xpx.at(x)[0].set(9.0, copy=False)
    with tt.no_grad():
        assert xpx.at(x)[0].set(9.0, copy=False) is x
    assert x.tolist() == [9.0, 2.0]


def test_a_set_function_has_no_derivative(backend: Backend) -> None:
    x, y = frozen([1.0, 2.0]), frozen([2.0, 3.0])
    with pytest.raises(tt.NotDifferentiableError, match="unique_values has no derivative"):
        tt.grad(lambda x: tt.sum(xpx.union1d(x, y)))(x)
