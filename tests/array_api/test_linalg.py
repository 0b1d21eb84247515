"""Linear algebra cases that are not in the table of calls: equal eigenvalues, zeros, empty batches, errors and complex gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.array_api.cases import real_imag, to_complex
from tests.helpers import assert_close, check_gradients, frozen, host
from tinytorch import linalg
from tinytorch.backend import Backend
from tinytorch.tensor import Tensor


def normal(*shape: int) -> Any:
    """Normal random numbers that depend on the shape only."""
    return numpy.random.default_rng(3).normal(size=shape)


def total(result: Any) -> Tensor:
    """The sum of all outputs."""
    parts = [tt.sum(part) for part in (result if isinstance(result, tuple) else (result,))]
    return sum(parts[1:], parts[0])


def exponential(x: Tensor) -> Tensor:
    """The matrix exponential; its gradient needs the derivative of eigenvectors with equal eigenvalues."""
    values, vectors = linalg.eigh(x)
    return vectors * tt.exp(values) @ vectors.mT


def orthogonal_factor(x: Tensor) -> Tensor:
    """The orthogonal factor of the polar decomposition; its gradient needs the derivative of vectors with equal singular values."""
    u, _, vh = linalg.svd(x, full_matrices=False)
    return u @ vh


def projector(x: Tensor) -> Tensor:
    """The projector onto the eigenvector of the largest eigenvalue."""
    vector = linalg.eigh(x).eigenvectors[:, -1:]
    return vector @ vector.mT


# ---- results ----


def test_results_have_the_field_names_of_the_standard(backend: Backend) -> None:
    x = frozen([[2.0, 1.0], [1.0, 3.0]])
    assert linalg.eigh(x)._fields == ("eigenvalues", "eigenvectors")
    assert linalg.qr(x)._fields == ("Q", "R")
    assert linalg.slogdet(x)._fields == ("sign", "logabsdet")
    assert linalg.svd(x)._fields == ("U", "S", "Vh")


def test_functions_of_both_namespaces_are_the_same_objects(backend: Backend) -> None:
    xp = backend.namespace
    for name in ("matmul", "matrix_transpose", "tensordot", "vecdot"):
        assert getattr(linalg, name) is getattr(tt, name)
        assert getattr(xp.linalg, name) is getattr(xp, name)


def test_the_first_power_is_a_new_tensor(backend: Backend) -> None:
    x = frozen([[1.0, 2.0], [3.0, 4.0]])
    power = linalg.matrix_power(x, 1)
    power += 1.0
    assert_close(x, numpy.float32([[1, 2], [3, 4]]))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: linalg.matrix_power(x[:2, :2], 2.5), TypeError, "integer"),
        (lambda x: linalg.matrix_power(x, 2), ValueError, r"matrices must be square, got shape \(2, 3\)"),
        (lambda x: linalg.cross(x, x, axis=0), ValueError, r"length 3 along axis 0, got shapes \(2, 3\)"),
        (lambda x: linalg.outer(x, x), ValueError, r"must be 1-d, got shapes \(2, 3\)"),
        (lambda x: linalg.matrix_norm(x, ord=3), ValueError, "got 3"),
        (lambda x: linalg.matrix_norm(x[0, ...]), ValueError, r"got shape \(3,\); use vector_norm"),
    ],
)
def test_an_invalid_argument_raises(call: Callable[[Tensor], Tensor], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call(tt.ones((2, 3)))


# ---- where no derivative exists ----


@pytest.mark.parametrize("name", ["U", "Vh"])
def test_vectors_added_by_full_matrices_have_no_derivative(backend: Backend, name: str) -> None:
    x = frozen(normal(*((4, 2) if name == "U" else (2, 4))))
    with pytest.raises(tt.NotDifferentiableError, match="use full_matrices=False"):
        tt.grad(lambda x: tt.sum(getattr(linalg.svd(x), name)))(x)


def test_vectors_not_extended_by_full_matrices_have_a_derivative(backend: Backend) -> None:
    check_gradients(lambda x: linalg.svd(x).Vh ** 2, normal(4, 2))
    check_gradients(lambda x: linalg.svd(x).U ** 2, normal(2, 4))


def test_a_complete_qr_of_a_tall_matrix_has_no_derivative(backend: Backend) -> None:
    with pytest.raises(tt.NotDifferentiableError, match="use mode='reduced'"):
        tt.grad(lambda x: tt.sum(linalg.qr(x, mode="complete").R))(frozen(normal(4, 2)))


@pytest.mark.parametrize("function", [exponential, orthogonal_factor])
def test_the_gradient_is_nan_if_it_needs_derivatives_of_vectors_with_equal_values(
    backend: Backend, function: Callable[[Tensor], Tensor]
) -> None:
    gradient = tt.grad(lambda x: tt.sum(function(x) * frozen(normal(3, 3))))(frozen(numpy.eye(3)))
    assert numpy.isnan(host(gradient)).all()


def test_equal_eigenvalues_do_not_affect_functions_of_another_eigenvector(backend: Backend) -> None:
    check_gradients(lambda x: projector((x + x.mT) / 2), numpy.diag([1.0, 1.0, 3.0]), order=1)


def test_equal_eigenvalues_and_singular_values_have_gradients(backend: Backend) -> None:
    for values in (linalg.eigvalsh, linalg.svdvals, lambda x: linalg.eigh(x).eigenvalues, lambda x: linalg.svd(x).S):
        assert_close(tt.grad(lambda x, f=values: tt.sum(f(x)))(frozen(numpy.eye(3))), numpy.eye(3), atol=1e-15)


# ---- zeros ----


@pytest.mark.parametrize("ord", [1, 2, 3, 2.5, 0.5, numpy.inf, -numpy.inf])
def test_the_gradient_of_a_norm_is_0_at_the_zero_vector(backend: Backend, ord: float) -> None:
    gradient = tt.grad(lambda x: linalg.vector_norm(x, ord=ord))(frozen(numpy.zeros(3)))
    assert_close(gradient, numpy.zeros(3))


@pytest.mark.parametrize("norm", [linalg.vector_norm, linalg.matrix_norm])
def test_second_derivatives_of_a_norm_are_correct_if_some_elements_are_0(backend: Backend, norm: Callable[[Tensor], Tensor]) -> None:
    x = numpy.array([[3.0, 0.0], [0.0, 4.0]])
    check_gradients(norm, x)
    check_gradients(lambda re, im: norm(to_complex(tt, re, im)), x, numpy.array([[0.0, 0.0], [2.0, 1.0]]))


@pytest.mark.parametrize(
    ("x", "cofactors"),
    [
        ([[1.0, 2.0], [2.0, 4.0]], [[4.0, -2.0], [-2.0, 1.0]]),
        ([[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]),
        ([[2.0, 0, 0], [0, 3.0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 6.0]]),
        ([[2.0, 0, 0], [0, 0, 0], [0, 0, 0]], [[0.0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_the_gradient_of_the_determinant_of_a_singular_matrix_is_its_cofactors(backend: Backend, x: Any, cofactors: Any) -> None:
    assert_close(tt.grad(linalg.det)(frozen(numpy.float64(x))), numpy.float64(cofactors), rtol=1e-12, atol=1e-12)


EMPTY: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...]]] = {
    **{
        name: (getattr(linalg, name), (0, 3, 3))
        for name in ("cholesky", "det", "eigh", "eigvalsh", "inv", "matrix_norm", "pinv", "qr", "slogdet", "svd", "svdvals", "trace")
    },
    "tall qr": (linalg.qr, (0, 4, 2)),
    "wide qr": (linalg.qr, (0, 2, 4)),
    "tall svd": (lambda x: linalg.svd(x, full_matrices=False), (0, 4, 2)),
    "nuclear": (lambda x: linalg.matrix_norm(x, ord="nuc"), (0, 4, 2)),
    "power": (lambda x: linalg.matrix_power(x, -2), (0, 3, 3)),
    "solve": (lambda x: linalg.solve(x, x), (0, 3, 3)),
    "no rows": (linalg.det, (0, 0)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_batch_has_an_empty_gradient(backend: Backend, name: str) -> None:
    call, shape = EMPTY[name]
    assert_close(tt.grad(lambda x: total(call(x)))(frozen(numpy.zeros(shape))), numpy.zeros(shape))


# ---- complex numbers ----


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_both_factors_of_a_complex_qr_are_differentiable(backend: Backend, shape: tuple[int, int]) -> None:
    """The diagonal of R is real, so the phase is unique."""

    def factors(re: Tensor, im: Tensor) -> list[Tensor]:
        return [part for factor in linalg.qr(to_complex(tt, re, im)) for part in real_imag(tt, factor)]

    check_gradients(factors, *normal(2, *shape))


def gram(xp: Any, z: Any) -> Any:
    return z @ xp.conj(z).mT


#: Functions that PyTorch and JAX call as the standard does.
COMPLEX: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...]]] = {
    "cholesky": (lambda xp, z: xp.linalg.cholesky(gram(xp, z)), (3, 3)),
    "det": (lambda xp, z: xp.linalg.det(z), (2, 3, 3)),
    "eigvalsh": (lambda xp, z: xp.linalg.eigvalsh(gram(xp, z)), (2, 3, 3)),
    "inv": (lambda xp, z: xp.linalg.inv(z), (2, 3, 3)),
    "matrix_norm": (lambda xp, z: xp.linalg.matrix_norm(z, ord="nuc"), (4, 2)),
    "pinv": (lambda xp, z: xp.linalg.pinv(z), (2, 4, 2)),
    "slogdet": (lambda xp, z: xp.linalg.slogdet(z), (2, 3, 3)),
    "solve": (lambda xp, z: xp.linalg.solve(z, z * z), (2, 3, 3)),
    "square qr": (lambda xp, z: xp.linalg.qr(z), (3, 3)),
    "tall qr": (lambda xp, z: xp.linalg.qr(z), (2, 4, 2)),
    "wide qr": (lambda xp, z: xp.linalg.qr(z), (2, 4)),
    "vector_norm": (lambda xp, z: xp.linalg.vector_norm(z, ord=3), (5,)),
}


def weighted(xp: Any, convert: Callable[[Any], Any], result: Any) -> Any:
    """The real part of the sum of all outputs, weighted by random complex numbers."""
    random, out = numpy.random.default_rng(5), 0.0
    for part in result if isinstance(result, tuple) else (result,):
        weights = random.normal(size=tuple(part.shape)) + 1j * random.normal(size=tuple(part.shape))
        out = out + xp.real(xp.sum(part * convert(weights)))
    return out


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_gradients_equal_those_of_jax_and_the_conjugates_of_those_of_pytorch(name: str) -> None:
    call, shape = COMPLEX[name]
    re, im = normal(2, *shape)
    z = re + 1j * im
    with tt.use_backend("numpy"):
        ours = host(tt.grad(lambda x: weighted(tt, tt.asarray, call(tt, x)))(frozen(z)))
    jax = pytest.importorskip("jax", reason="compares with JAX: pip install jax")
    theirs = jax.grad(lambda x: weighted(jax.numpy, jax.numpy.asarray, call(jax.numpy, x)))(jax.numpy.asarray(z))
    numpy.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install torch")
    x = torch.tensor(z, requires_grad=True)
    weighted(torch, torch.asarray, call(torch, x)).backward()
    numpy.testing.assert_allclose(ours, x.grad.numpy().conj(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("values", [[1j], [1j, 0, 2], [0j], [[0, 3j], [0, 0]]])
def test_the_norm_of_order_0_counts_nonzero_elements(backend: Backend, values: Any) -> None:
    x = numpy.asarray(values, "complex128")
    assert_close(tt.linalg.vector_norm(frozen(x), ord=0), numpy.float64(numpy.count_nonzero(x)))
    assert_close(tt.linalg.vector_norm(frozen(x), ord=0, axis=-1, keepdims=True), numpy.float64((x != 0).sum(axis=-1, keepdims=True)))
