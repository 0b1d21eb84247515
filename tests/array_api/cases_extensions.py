"""The table of calls for the extensions `linalg` and `fft`.

Vectors of decompositions are squared, since their signs are arbitrary.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from tests.array_api.cases import CASES, case, normal, real_imag, to_complex

__all__ = ["CASES"]  # includes those of the main namespace

_CLOSE = 1e-9


def linalg(name: str, call: Any, *inputs: Any, order: int = 2) -> None:
    case(f"linalg.{name}", call, *inputs, order=order, tolerance=_CLOSE)


def symmetric(xp: Any, x: Any) -> Any:
    return x + xp.matrix_transpose(x)


def positive(xp: Any, x: Any) -> Any:
    """A symmetric positive definite matrix."""
    return xp.matmul(x, xp.matrix_transpose(x)) + 3 * xp.eye(x.shape[-1], dtype=xp.float64)


def hermitian(xp: Any, real: Any, imag: Any) -> Any:
    z = to_complex(xp, real, imag)
    return z + xp.conj(xp.matrix_transpose(z))


def well_conditioned(*shape: int) -> Any:
    """Well-conditioned square matrices."""
    return normal(*shape) + 3 * numpy.eye(shape[-1])


# ---- solving ----

for _a, _b in [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3,)), ((2, 3, 3), (2, 3, 2)), ((3, 3), (2, 3, 2)), ((1, 1), (1,))]:
    linalg("solve", lambda xp, a, b: xp.linalg.solve(a, b), well_conditioned(*_a), normal(*_b))
for _shape in [(3, 3), (2, 3, 3), (1, 1), (0, 2, 2)]:
    linalg("inv", lambda xp, x: xp.linalg.inv(x), well_conditioned(*_shape))
    linalg("det", lambda xp, x: xp.linalg.det(x), normal(*_shape))
    linalg("slogdet", lambda xp, x: xp.linalg.slogdet(x), normal(*_shape))
linalg("det", lambda xp, x: xp.linalg.det(x), numpy.float64([[1, 2], [2, 4]]), order=1)  # singular
linalg("det", lambda xp, x: xp.linalg.det(x), numpy.zeros((2, 2)), order=1)
for _shape in [(4, 3), (3, 4), (2, 3, 3)]:
    linalg("pinv", lambda xp, x: xp.linalg.pinv(x), normal(*_shape))
linalg("pinv", lambda xp, x, y: xp.linalg.pinv(xp.matmul(x, y), rtol=1e-9), normal(4, 2), normal(2, 3))  # rank 2
linalg("matrix_rank", lambda xp, x: xp.linalg.matrix_rank(x), normal(2, 3, 4))

# ---- decompositions ----

for _shape in [(3, 3), (2, 3, 3), (1, 1)]:
    linalg("cholesky", lambda xp, x: xp.linalg.cholesky(positive(xp, x)), normal(*_shape))
    linalg("eigvalsh", lambda xp, x: xp.linalg.eigvalsh(symmetric(xp, x)), normal(*_shape))
    linalg("eigh", lambda xp, x: [part**2 for part in xp.linalg.eigh(symmetric(xp, x))], normal(*_shape))
linalg("cholesky", lambda xp, x: xp.linalg.cholesky(positive(xp, x), upper=True), normal(3, 3))
for _shape in [(3, 3), (4, 3), (3, 5), (2, 3, 2)]:
    linalg("qr", lambda xp, x: [part**2 for part in xp.linalg.qr(x)], normal(*_shape))
    linalg("svdvals", lambda xp, x: xp.linalg.svdvals(x), normal(*_shape))
    linalg("svd", lambda xp, x: [part**2 for part in xp.linalg.svd(x, full_matrices=False)], normal(*_shape))
linalg("qr", lambda xp, x: [part**2 for part in xp.linalg.qr(x, mode="complete")], normal(3, 4))
linalg("svd", lambda xp, x: xp.linalg.svd(x)[1], normal(4, 2))
linalg("svd", lambda xp, x: [part**2 for part in xp.linalg.svd(x)], normal(3, 3))

# ---- complex matrices: results that do not depend on the phases of vectors ----

for _rows, _columns in [(3, 3), (4, 2), (2, 3)]:
    for _name in ("svdvals", "matrix_norm"):
        linalg(
            _name, lambda xp, x, y, n=_name: getattr(xp.linalg, n)(to_complex(xp, x, y)), normal(_rows, _columns), normal(_rows, _columns)
        )
    linalg("pinv", lambda xp, x, y: real_imag(xp, xp.linalg.pinv(to_complex(xp, x, y))), normal(_rows, _columns), normal(_rows, _columns))


def low_rank(xp: Any, x: Any, y: Any) -> list[Any]:
    """The nearest matrix of rank 1."""
    u, s, vh = xp.linalg.svd(to_complex(xp, x, y), full_matrices=False)
    return real_imag(xp, xp.matmul(u[:, :1] * xp.astype(s[:1], u.dtype), vh[:1, :]))


def projector(xp: Any, x: Any, y: Any) -> list[Any]:
    """The projector onto the eigenvector of the largest eigenvalue."""
    vectors = xp.linalg.eigh(hermitian(xp, x, y))[1][:, -1:]
    return real_imag(xp, xp.matmul(vectors, xp.conj(xp.matrix_transpose(vectors))))


linalg("svd", low_rank, normal(4, 3), normal(4, 3))
linalg("svd", low_rank, normal(2, 3), normal(2, 3))
linalg("eigh", projector, normal(3, 3), normal(3, 3))
linalg("eigvalsh", lambda xp, x, y: xp.linalg.eigvalsh(hermitian(xp, x, y)), normal(3, 3), normal(3, 3))
linalg("det", lambda xp, x, y: real_imag(xp, xp.linalg.det(to_complex(xp, x, y))), normal(3, 3), normal(3, 3))
linalg("inv", lambda xp, x, y: real_imag(xp, xp.linalg.inv(to_complex(xp, x, y))), well_conditioned(3, 3), normal(3, 3))
linalg("slogdet", lambda xp, x, y: real_imag(xp, xp.linalg.slogdet(to_complex(xp, x, y))[0]), well_conditioned(3, 3), normal(3, 3))
linalg("slogdet", lambda xp, x, y: xp.linalg.slogdet(to_complex(xp, x, y))[1], well_conditioned(3, 3), normal(3, 3))
linalg(
    "solve",
    lambda xp, x, y: real_imag(xp, xp.linalg.solve(to_complex(xp, x, y), to_complex(xp, y, x))),
    well_conditioned(3, 3),
    normal(3, 3),
)


def gram(xp: Any, x: Any, y: Any) -> Any:
    """A complex positive definite matrix."""
    z = to_complex(xp, x, y)
    return xp.matmul(z, xp.conj(xp.matrix_transpose(z))) + 3 * xp.eye(x.shape[-1], dtype=xp.complex128)


for _upper in (False, True):
    linalg("cholesky", lambda xp, x, y, u=_upper: real_imag(xp, xp.linalg.cholesky(gram(xp, x, y), upper=u)), normal(3, 3), normal(3, 3))


def complement(xp: Any, x: Any, y: Any) -> list[Any]:
    """The projection of a vector of ones onto the orthogonal complement of the column space."""
    q = xp.linalg.qr(to_complex(xp, x, y))[0]
    ones = xp.ones((x.shape[0], 1), dtype=q.dtype)
    return real_imag(xp, ones - xp.matmul(q, xp.matmul(xp.conj(xp.matrix_transpose(q)), ones)))


linalg("qr", complement, normal(4, 2), normal(4, 2))

# ---- products, diagonals, norms ----

for _offset in (-1, 0, 2):
    linalg("diagonal", lambda xp, x, o=_offset: xp.linalg.diagonal(x, offset=o) ** 2, normal(2, 3, 4))
    linalg("trace", lambda xp, x, o=_offset: xp.linalg.trace(x, offset=o) ** 2, normal(2, 3, 4))
linalg("outer", lambda xp, x, y: xp.linalg.outer(x, y), normal(3), normal(4))
linalg("cross", lambda xp, x, y: xp.linalg.cross(x, y), normal(2, 3), normal(3))
linalg("cross", lambda xp, x, y: xp.linalg.cross(x, y, axis=-2), normal(3, 2), normal(4, 3, 1))
for _power in (0, 1, 2, 5, -1, -2):
    linalg("matrix_power", lambda xp, x, n=_power: xp.linalg.matrix_power(x, n), well_conditioned(2, 2, 2))
for _ord in (0, 1, 2, 3, 2.5, 0.5, -1, math.inf, -math.inf):
    linalg("vector_norm", lambda xp, x, o=_ord: xp.linalg.vector_norm(x, ord=o, axis=-1), normal(2, 3))
    linalg("vector_norm", lambda xp, x, o=_ord: xp.linalg.vector_norm(x, ord=o, axis=(0, 2), keepdims=True), normal(2, 3, 2))
    linalg("vector_norm", lambda xp, x, y, o=_ord: xp.linalg.vector_norm(to_complex(xp, x, y), ord=o), normal(3), normal(3))
for _ord in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
    for _keep in (False, True):
        linalg("matrix_norm", lambda xp, x, o=_ord, k=_keep: xp.linalg.matrix_norm(x, ord=o, keepdims=k), normal(2, 3, 4))
linalg("matmul", lambda xp, x, y: xp.linalg.matmul(x, y), normal(2, 3), normal(3, 2))
linalg("matrix_transpose", lambda xp, x: xp.linalg.matrix_transpose(x), normal(2, 3))
linalg("tensordot", lambda xp, x, y: xp.linalg.tensordot(x, y, axes=1), normal(2, 3), normal(3, 2))
linalg("vecdot", lambda xp, x, y: xp.linalg.vecdot(x, y), normal(2, 3), normal(2, 3))

# ---- Fourier transforms ----


def fourier(name: str, call: Any, *inputs: Any) -> None:
    case(f"fft.{name}", call, *inputs, tolerance=_CLOSE)


for _norm in ("backward", "ortho", "forward"):
    for _n in (None, 3, 6, 7):  # cropped and zero-padded
        _how = {"n": _n, "axis": 0, "norm": _norm}
        for _name in ("fft", "ifft"):
            fourier(
                _name,
                lambda xp, x, y, n=_name, h=_how: real_imag(xp, getattr(xp.fft, n)(to_complex(xp, x, y), **h)),
                normal(5, 2),
                normal(5, 2),
            )
        for _name in ("rfft", "ihfft"):
            fourier(_name, lambda xp, x, n=_name, h=_how: real_imag(xp, getattr(xp.fft, n)(x, **h)), normal(5, 2))
        for _name in ("irfft", "hfft"):
            fourier(_name, lambda xp, x, y, n=_name, h=_how: getattr(xp.fft, n)(to_complex(xp, x, y), **h) ** 2, normal(5, 2), normal(5, 2))
for _how in ({}, {"s": (4, 2), "axes": (0, 1)}, {"axes": (1,), "norm": "ortho"}):
    for _name in ("fftn", "ifftn"):
        fourier(
            _name,
            lambda xp, x, y, n=_name, h=_how: real_imag(xp, getattr(xp.fft, n)(to_complex(xp, x, y), **h)),
            normal(3, 4),
            normal(3, 4),
        )
    fourier("rfftn", lambda xp, x, h=_how: real_imag(xp, xp.fft.rfftn(x, **h)), normal(3, 4))
    fourier("irfftn", lambda xp, x, y, h=_how: xp.fft.irfftn(to_complex(xp, x, y), **h), normal(3, 4), normal(3, 4))
for _name in ("fftshift", "ifftshift"):
    fourier(_name, lambda xp, x, n=_name: getattr(xp.fft, n)(x) ** 2, normal(3, 4))
    fourier(_name, lambda xp, x, n=_name: getattr(xp.fft, n)(x, axes=0), normal(3, 4))
