"""Decompositions of matrices.

Rules of vectors (of `eigh`, `svd` and `qr`) hold for functions that do not depend on what a decomposition leaves open: signs, or phases of
complex vectors. How vectors of equal values turn into each other has no derivative: the gradient is NaN where a function depends on it, and
what it is elsewhere, as for the projector on another vector. Second derivatives, of values too, are NaN for a matrix with equal values:
they depend on how its vectors turn.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from tinytorch.array_api.arithmetic import conj, is_complex
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.linalg.adjoint import adjoint, conjugated
from tinytorch.array_api.manipulation import matrix_transpose
from tinytorch.autograd.arguments import NotDifferentiableError
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def _hermitian_part(xp: Any, x: Any) -> Any:
    return (x + adjoint(xp, x)) / 2


def _columns(xp: Any, values: Any, like: Any) -> Any:
    """Values (..., K) as factors of the columns of matrices of ``like``'s type."""
    return xp.expand_dims(xp.astype(values, like.dtype), axis=-2)


def _rows(xp: Any, values: Any, like: Any) -> Any:
    """Values (..., K) as factors of the rows of matrices."""
    return xp.expand_dims(xp.astype(values, like.dtype), axis=-1)


def _over_gaps(xp: Any, turning: Any, values: Any) -> Any:
    """``turning[i, j] / (values[j] - values[i])`` off the diagonal, and NaN in place of a division by 0; what is 0 stays 0."""
    gaps = xp.expand_dims(values, axis=-2) - xp.expand_dims(values, axis=-1)
    equal = gaps == 0
    quotient = turning / xp.astype(xp.where(equal, xp.ones_like(gaps), gaps), turning.dtype)
    nothing = xp.zeros_like(turning)
    unknown = (turning != 0) & (xp.eye(values.shape[-1], dtype=values.dtype) == 0)
    return xp.where(equal, xp.where(unknown, nothing + math.nan, nothing), quotient)


def _steady(xp: Any, vectors: Any, values: Any) -> Any:
    """``vectors``, without a derivative for matrices of which two of the sorted ``values`` (..., K) are equal."""
    repeated = xp.any(values[..., 1:] == values[..., :-1], axis=-1)
    return kinked(xp, vectors, vectors, repeated[..., None, None])


# ---- Cholesky ----


@operation(saves=Saves.OUTPUT)
def _cholesky(xp: Any, x: Tensor, /) -> Tensor:
    return xp.linalg.cholesky(x)


_cholesky.__name__ = "cholesky"


def _cholesky_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    """Murray 2016 (arXiv:1602.07527), equation 10."""
    lh = adjoint(xp, out)
    product = xp.tril(xp.matmul(lh, g))
    halved = product - xp.eye(x.shape[-1], dtype=product.dtype) * product / 2
    left = xp.linalg.solve(lh, halved)  # L^-H P, and then L^-1 from the right
    return _hermitian_part(xp, adjoint(xp, xp.linalg.solve(lh, adjoint(xp, left))))


_cholesky.derivatives(x=conjugated(_cholesky_rule))


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The lower triangular L with ``L @ L^H == x`` for symmetric (Hermitian) positive definite matrices, or L^H with ``upper``."""
    lower = _cholesky(x)
    if not upper:
        return lower
    transposed = matrix_transpose(lower)
    return conj(transposed) if x.dtype.kind == "complex floating" else transposed


# ---- QR ----


class QRResult(NamedTuple):
    """Orthonormal columns, and an upper triangle: ``Q @ R`` is the matrix."""

    Q: Tensor
    R: Tensor


@operation(saves=Saves.BOTH)
def _qr(xp: Any, x: Tensor, /, *, mode: str = "reduced") -> tuple[Tensor, ...]:
    return tuple(xp.linalg.qr(x, mode=mode))


_qr.__name__ = "qr"


def _qr_rule(xp: Any, g: dict[int, Any], out: Any, x: Any, mode: str = "reduced") -> Any:
    """Walter and Lehmann 2018 (arXiv:1009.6112), section 3; what stands right of the square part of R is Q^H times its columns."""
    q, r = out
    if q.shape[-1] > r.shape[-1]:
        raise NotDifferentiableError("qr has no derivative with mode='complete' for more rows than columns: use mode='reduced'")
    gq = g.get(0, xp.zeros_like(q))
    gr = g.get(1, xp.zeros_like(r))
    size = q.shape[-1]
    right = xp.matmul(q, gr[..., :, size:])
    gq = gq + xp.matmul(x[..., :, size:], adjoint(xp, gr[..., :, size:]))
    r, gr = r[..., :, :size], gr[..., :, :size]
    inner = xp.matmul(r, adjoint(xp, gr)) - xp.matmul(adjoint(xp, gq), q)
    below = xp.tril(inner, k=-1)
    diagonal = xp.eye(size, dtype=inner.dtype) * _hermitian_part(xp, inner)
    total = gq + xp.matmul(q, below + adjoint(xp, below) + diagonal)
    left = adjoint(xp, xp.linalg.solve(r, adjoint(xp, total)))  # R^-H from the right
    return xp.concat([left, right], axis=-1)


_qr.derivatives(x=conjugated(_qr_rule))


def qr(x: Tensor, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QRResult:
    """Orthonormal Q and upper triangular R with ``Q @ R == x``; ``"complete"`` makes Q square.

    Differentiable where the leading columns are independent; not with "complete" for more rows than columns, whose further columns of Q
    are arbitrary.
    """
    return QRResult(*_qr(x, mode=mode))


# ---- symmetric eigenvalues ----


class EighResult(NamedTuple):
    """Eigenvalues in rising order, and eigenvectors as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


@operation(saves=Saves.BOTH)
def _eigh(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    return tuple(xp.linalg.eigh(x))


_eigh.__name__ = "eigh"


def _eigh_rule(xp: Any, g: dict[int, Any], out: Any, x: Any) -> Any:
    """Giles 2008, section 3.1."""
    values, vectors = out
    vectors = _steady(xp, vectors, values)
    size = values.shape[-1]
    inner = xp.zeros_like(x)
    if 0 in g:
        inner = inner + xp.eye(size, dtype=x.dtype) * _columns(xp, g[0], x)
    if 1 in g:
        inner = inner + _over_gaps(xp, xp.matmul(adjoint(xp, vectors), g[1]), values)
    return _hermitian_part(xp, xp.matmul(vectors, xp.matmul(inner, adjoint(xp, vectors))))


_eigh.derivatives(x=conjugated(_eigh_rule))


def eigh(x: Tensor, /) -> EighResult:
    """Eigenvalues and eigenvectors of symmetric (Hermitian) matrices."""
    return EighResult(*_eigh(x))


@operation
def eigvalsh(xp: Any, x: Tensor, /) -> Tensor:
    """Eigenvalues of symmetric (Hermitian) matrices, in rising order."""
    return xp.linalg.eigvalsh(x)


def _eigvalsh_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    values, vectors = xp.linalg.eigh(x)
    vectors = _steady(xp, vectors, values)
    return xp.matmul(vectors * _columns(xp, g, x), adjoint(xp, vectors))


eigvalsh.derivatives(x=conjugated(_eigvalsh_rule))


# ---- singular values ----


class SVDResult(NamedTuple):
    """Left singular vectors as columns, singular values in falling order, right singular vectors as conjugated rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


@operation(saves=Saves.BOTH)
def _svd(xp: Any, x: Tensor, /, *, full_matrices: bool = True) -> tuple[Tensor, ...]:
    return tuple(xp.linalg.svd(x, full_matrices=full_matrices))


_svd.__name__ = "svd"


def _svd_rule(xp: Any, g: dict[int, Any], out: Any, x: Any, full_matrices: bool = True) -> Any:
    """Townsend 2016, *Differentiating the singular value decomposition*, section 1.1."""
    u, s, vh = out
    rows, columns = x.shape[-2:]
    size = min(rows, columns)
    if full_matrices and ((0 in g and rows > size) or (2 in g and columns > size)):
        raise NotDifferentiableError(
            "svd has no derivative of the vectors that full_matrices=True adds, which are arbitrary: use full_matrices=False"
        )
    if full_matrices and rows != columns:  # taken anew, so that derivatives of this rule need none of those vectors
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
    u = _steady(xp, u, s)
    inner = xp.zeros((*s.shape[:-1], size, size), dtype=x.dtype)
    if 1 in g:
        inner = inner + xp.eye(size, dtype=x.dtype) * _columns(xp, g[1], x)
    outside = xp.zeros_like(x)
    if 0 in g:
        turned = xp.matmul(adjoint(xp, u), g[0])
        skew = turned - adjoint(xp, turned)
        inner = inner + _over_gaps(xp, skew, s * s) * _columns(xp, s, x)
        if is_complex(xp, x):  # a common phase of both vectors
            inner = inner + xp.eye(size, dtype=x.dtype) * skew / _columns(xp, 2 * s, x)
        if rows > size:
            outside = outside + xp.matmul((g[0] - xp.matmul(u, turned)) / _columns(xp, s, x), vh)
    if 2 in g:
        turned = xp.matmul(vh, adjoint(xp, g[2]))
        inner = inner + _rows(xp, s, x) * _over_gaps(xp, turned - adjoint(xp, turned), s * s)
        if columns > size:
            outside = outside + xp.matmul(u / _columns(xp, s, x), g[2] - xp.matmul(adjoint(xp, turned), vh))
    return xp.matmul(u, xp.matmul(inner, vh)) + outside


_svd.derivatives(x=conjugated(_svd_rule))


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular values and vectors: ``U * S @ Vh == x`` with ``full_matrices=False``; otherwise U and Vh are square.

    The vectors are differentiable where singular values are positive and differ; those that ``full_matrices`` adds are not.
    """
    return SVDResult(*_svd(x, full_matrices=full_matrices))


@operation
def svdvals(xp: Any, x: Tensor, /) -> Tensor:
    """Singular values in falling order."""
    return xp.linalg.svdvals(x)


def _svdvals_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    return xp.matmul(_steady(xp, u, s) * _columns(xp, g, x), vh)


svdvals.derivatives(x=conjugated(_svdvals_rule))
