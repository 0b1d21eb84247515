"""Matrix decompositions.

The vectors of `eigh`, `svd` and `qr` are unique only up to a sign (a phase if complex). Their rules are correct for functions that do not
depend on that choice. Vectors with equal eigenvalues (or singular values) can be rotated into each other and have no derivative. The
gradient is NaN for functions that depend on this rotation, and finite for others, such as the projector onto another eigenvector.
Second derivatives, also those of eigenvalues and singular values, are NaN if two values are equal.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from tinytorch.array_api.complex_numbers import conj, is_complex
from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.linalg.adjoint import adjoint, conjugate_convention
from tinytorch.array_api.manipulation import matrix_transpose
from tinytorch.autograd.arguments import NotDifferentiableError
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def _hermitian_part(xp: Any, x: Any) -> Any:
    return (x + adjoint(xp, x)) / 2


def _columns(xp: Any, values: Any, like: Any) -> Any:
    """Reshape values (..., K) to multiply the columns of matrices, in the dtype of ``like``."""
    return xp.expand_dims(xp.astype(values, like.dtype), axis=-2)


def _rows(xp: Any, values: Any, like: Any) -> Any:
    """Reshape values (..., K) to multiply the rows of matrices, in the dtype of ``like``."""
    return xp.expand_dims(xp.astype(values, like.dtype), axis=-1)


def _divide_by_gaps(xp: Any, x: Any, values: Any) -> Any:
    """``x[i, j] / (values[j] - values[i])``, and 0 on the diagonal. For equal values: 0 where x is 0, otherwise NaN."""
    gaps = xp.expand_dims(values, axis=-2) - xp.expand_dims(values, axis=-1)
    equal = gaps == 0
    quotient = x / xp.astype(xp.where(equal, xp.ones_like(gaps), gaps), x.dtype)
    zeros = xp.zeros_like(x)
    undefined = (x != 0) & (xp.eye(values.shape[-1], dtype=values.dtype) == 0)
    return xp.where(equal, xp.where(undefined, zeros + math.nan, zeros), quotient)


def _mark_repeated(xp: Any, vectors: Any, values: Any) -> Any:
    """``vectors``, with NaN as their derivative if two of the sorted ``values`` (..., K) are equal."""
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
    left = xp.linalg.solve(lh, halved)  # L^-H P; then multiply by L^-1 from the right
    return _hermitian_part(xp, adjoint(xp, xp.linalg.solve(lh, adjoint(xp, left))))


_cholesky.derivatives(x=conjugate_convention(_cholesky_rule))


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """Cholesky factor of symmetric (Hermitian) positive definite matrices: lower L with ``L @ L^H == x``, or ``L^H`` if ``upper``.

    Example:
        >>> tt.linalg.cholesky(tt.asarray([[4.0, 2.0], [2.0, 5.0]])).tolist()
        [[2.0, 0.0], [1.0, 2.0]]
    """
    lower = _cholesky(x)
    if not upper:
        return lower
    transposed = matrix_transpose(lower)
    return conj(transposed) if x.dtype.kind == "complex floating" else transposed


# ---- QR ----


class QRResult(NamedTuple):
    """Result of `qr`: Q with orthonormal columns and upper triangular R."""

    Q: Tensor
    R: Tensor


@operation(saves=Saves.BOTH)
def _qr(xp: Any, x: Tensor, /, *, mode: str = "reduced") -> tuple[Tensor, ...]:
    return tuple(xp.linalg.qr(x, mode=mode))


_qr.__name__ = "qr"


def _qr_rule(xp: Any, g: dict[int, Any], out: Any, x: Any, mode: str = "reduced") -> Any:
    """Walter and Lehmann 2018 (arXiv:1009.6112), section 3. To the right of the square part, R is Q^H times the columns of x."""
    q, r = out
    if q.shape[-1] > r.shape[-1]:
        raise NotDifferentiableError("qr has no derivative with mode='complete' for more rows than columns; use mode='reduced'")
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
    left = adjoint(xp, xp.linalg.solve(r, adjoint(xp, total)))  # multiply by R^-H from the right
    return xp.concat([left, right], axis=-1)


_qr.derivatives(x=conjugate_convention(_qr_rule))


def qr(x: Tensor, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QRResult:
    """QR decomposition: Q with orthonormal columns and upper triangular R with ``Q @ R == x``; Q is square if ``mode`` is "complete".

    Differentiable if the leading columns are linearly independent. Not differentiable with "complete" for more rows than columns, since
    the additional columns of Q are arbitrary.

    Example:
        >>> Q, R = tt.linalg.qr(tt.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        >>> Q.shape, R.shape
        ((3, 2), (2, 2))
    """
    return QRResult(*_qr(x, mode=mode))


# ---- eigenvalues of symmetric matrices ----


class EighResult(NamedTuple):
    """Result of `eigh`: eigenvalues in ascending order, and eigenvectors as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


@operation(saves=Saves.BOTH)
def _eigh(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    return tuple(xp.linalg.eigh(x))


_eigh.__name__ = "eigh"


def _eigh_rule(xp: Any, g: dict[int, Any], out: Any, x: Any) -> Any:
    """Giles 2008, section 3.1."""
    values, vectors = out
    vectors = _mark_repeated(xp, vectors, values)
    size = values.shape[-1]
    inner = xp.zeros_like(x)
    if 0 in g:
        inner = inner + xp.eye(size, dtype=x.dtype) * _columns(xp, g[0], x)
    if 1 in g:
        inner = inner + _divide_by_gaps(xp, xp.matmul(adjoint(xp, vectors), g[1]), values)
    return _hermitian_part(xp, xp.matmul(vectors, xp.matmul(inner, adjoint(xp, vectors))))


_eigh.derivatives(x=conjugate_convention(_eigh_rule))


def eigh(x: Tensor, /) -> EighResult:
    """Eigenvalues (ascending) and eigenvectors (columns) of symmetric (Hermitian) matrices.

    Example:
        >>> values, vectors = tt.linalg.eigh(tt.asarray([[2.0, 0.0], [0.0, 1.0]]))
        >>> values
        Tensor([1., 2.], dtype=float32, device='numpy:cpu')
    """
    return EighResult(*_eigh(x))


@operation
def eigvalsh(xp: Any, x: Tensor, /) -> Tensor:
    """Eigenvalues of symmetric (Hermitian) matrices, in ascending order.

    Example:
        >>> tt.linalg.eigvalsh(tt.asarray([[2.0, 0.0], [0.0, 1.0]]))
        Tensor([1., 2.], dtype=float32, device='numpy:cpu')
    """
    return xp.linalg.eigvalsh(x)


def _eigvalsh_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    values, vectors = xp.linalg.eigh(x)
    vectors = _mark_repeated(xp, vectors, values)
    return xp.matmul(vectors * _columns(xp, g, x), adjoint(xp, vectors))


eigvalsh.derivatives(x=conjugate_convention(_eigvalsh_rule))


# ---- singular values ----


class SVDResult(NamedTuple):
    """Result of `svd`: left singular vectors as columns, singular values in descending order, conjugated right singular vectors as rows."""

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
            "svd has no derivative of the vectors that full_matrices=True adds, since they are arbitrary; use full_matrices=False"
        )
    if full_matrices and rows != columns:  # recomputed: derivatives of this rule must not depend on the added vectors
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
    u = _mark_repeated(xp, u, s)
    inner = xp.zeros((*s.shape[:-1], size, size), dtype=x.dtype)
    if 1 in g:
        inner = inner + xp.eye(size, dtype=x.dtype) * _columns(xp, g[1], x)
    outside = xp.zeros_like(x)
    if 0 in g:
        projected = xp.matmul(adjoint(xp, u), g[0])
        skew = projected - adjoint(xp, projected)
        inner = inner + _divide_by_gaps(xp, skew, s * s) * _columns(xp, s, x)
        if is_complex(xp, x):  # both vectors share a phase
            inner = inner + xp.eye(size, dtype=x.dtype) * skew / _columns(xp, 2 * s, x)
        if rows > size:
            outside = outside + xp.matmul((g[0] - xp.matmul(u, projected)) / _columns(xp, s, x), vh)
    if 2 in g:
        projected = xp.matmul(vh, adjoint(xp, g[2]))
        inner = inner + _rows(xp, s, x) * _divide_by_gaps(xp, projected - adjoint(xp, projected), s * s)
        if columns > size:
            outside = outside + xp.matmul(u / _columns(xp, s, x), g[2] - xp.matmul(adjoint(xp, projected), vh))
    return xp.matmul(u, xp.matmul(inner, vh)) + outside


_svd.derivatives(x=conjugate_convention(_svd_rule))


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular value decomposition: ``U * S @ Vh == x`` with ``full_matrices=False``; otherwise U and Vh are square.

    The vectors are differentiable if the singular values are positive and distinct. The vectors that ``full_matrices=True`` adds are not.

    Example:
        >>> U, S, Vh = tt.linalg.svd(tt.asarray([[3.0, 0.0], [0.0, 4.0]]), full_matrices=False)
        >>> S
        Tensor([4., 3.], dtype=float32, device='numpy:cpu')
    """
    return SVDResult(*_svd(x, full_matrices=full_matrices))


@operation
def svdvals(xp: Any, x: Tensor, /) -> Tensor:
    """Singular values in descending order.

    Example:
        >>> tt.linalg.svdvals(tt.asarray([[3.0, 0.0], [0.0, 4.0]]))
        Tensor([4., 3.], dtype=float32, device='numpy:cpu')
    """
    return xp.linalg.svdvals(x)


def _svdvals_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    return xp.matmul(_mark_repeated(xp, u, s) * _columns(xp, g, x), vh)


svdvals.derivatives(x=conjugate_convention(_svdvals_rule))
