"""Systems of linear equations, inverses and determinants (Giles 2008, *Collected matrix derivative results*)."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinytorch.array_api.complex_numbers import is_complex
from tinytorch.array_api.linalg.adjoint import adjoint, conjugate_convention
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


@operation(saves=Saves.BOTH)
def solve(xp: Any, x1: Tensor, x2: Tensor, /) -> Tensor:
    """The solution y of ``x1 @ y == x2``.

    Args:
        x1: (..., M, M).
        x2: (M,), or (..., M, K).

    Example:
        >>> tt.linalg.solve(tt.asarray([[2.0, 0.0], [0.0, 4.0]]), tt.asarray([2.0, 4.0]))
        Tensor([1., 1.], dtype=float32, device='numpy:cpu')
    """
    return xp.linalg.solve(x1, x2)


def _solve_adjoint(xp: Any, g: Any, x1: Any, x2: Any) -> Any:
    """The gradient with respect to the right-hand side: the solution with the transposed matrix."""
    transposed = xp.matrix_transpose(x1)
    if len(x2.shape) > 1 or len(g.shape) == 1:
        return xp.linalg.solve(transposed, g)
    return xp.squeeze(xp.linalg.solve(transposed, xp.expand_dims(g, axis=-1)), axis=-1)  # one vector, a batch of matrices


def _solve_matrix(xp: Any, g: Any, out: Any, x1: Any, x2: Any) -> Any:
    right = _solve_adjoint(xp, g, x1, x2)
    if len(x2.shape) == 1:
        return -xp.expand_dims(right, axis=-1) * xp.expand_dims(out, axis=-2)
    return -xp.matmul(right, xp.matrix_transpose(out))


solve.derivatives(x1=_solve_matrix, x2=lambda xp, g, out, x1, x2: _solve_adjoint(xp, g, x1, x2))


@operation(saves=Saves.OUTPUT)
def inv(xp: Any, x: Tensor, /) -> Tensor:
    """Inverses of square matrices.

    Example:
        >>> tt.linalg.inv(tt.asarray([[2.0, 0.0], [0.0, 4.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.25]]
    """
    return xp.linalg.inv(x)


def _inv_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    transposed = xp.matrix_transpose(out)
    return -xp.matmul(transposed, xp.matmul(g, transposed))


inv.derivatives(x=_inv_rule)


@operation
def det(xp: Any, x: Tensor, /) -> Tensor:
    """Determinants of square matrices. The first derivative also exists for singular matrices; the second one requires an inverse.

    Example:
        >>> tt.linalg.det(tt.asarray([[2.0, 0.0], [0.0, 4.0]]))
        Tensor(8., dtype=float32, device='numpy:cpu')
    """
    return xp.linalg.det(x)


det.derivatives(x=lambda xp, g, out, x: xp.expand_dims(xp.expand_dims(g, axis=-1), axis=-1) * _cofactors_of(xp, x))


def _cofactors_of(xp: Any, x: Any) -> Any:
    return _cofactors(x) if isinstance(x, Tensor) else _cofactors.forward(xp, x)


@operation(saves=Saves.BOTH)
def _cofactors(xp: Any, x: Tensor, /) -> Tensor:
    """The derivative of the determinant, ``det(x) inv(x).T``, computed from the singular values without dividing by them."""
    if x.shape[-1] == 0:
        return x
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    ones = xp.ones((*s.shape[:-1], 1), dtype=s.dtype)
    before = xp.cumulative_prod(xp.concat([ones, s[..., :-1]], axis=-1), axis=-1)
    after = xp.flip(xp.cumulative_prod(xp.concat([ones, xp.flip(s, axis=-1)[..., :-1]], axis=-1), axis=-1), axis=-1)
    others = xp.astype(before * after, x.dtype)  # for each singular value, the product of the others
    sign_or_phase = xp.linalg.det(u) * xp.linalg.det(vh)
    left, right = (xp.conj(u), xp.conj(vh)) if is_complex(xp, x) else (u, vh)
    return xp.matmul(left * xp.expand_dims(others, axis=-2), right) * sign_or_phase[..., None, None]


def _cofactors_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    inverse = xp.matrix_transpose(xp.linalg.inv(x))
    along = xp.sum(g * out, axis=(-2, -1), keepdims=True) * inverse
    return along - xp.matmul(out, xp.matmul(xp.matrix_transpose(g), inverse))


_cofactors.derivatives(x=_cofactors_rule)


class SlogdetResult(NamedTuple):
    """Result of `slogdet`: the sign, and the logarithm of the absolute value, of a determinant."""

    sign: Tensor
    logabsdet: Tensor


@operation(saves=Saves.BOTH)
def _slogdet(xp: Any, x: Tensor, /) -> tuple[Tensor, ...]:
    return tuple(xp.linalg.slogdet(x))


_slogdet.__name__ = "slogdet"


def _slogdet_rule(xp: Any, g: dict[int, Any], out: Any, x: Any) -> Any:
    """The complex logarithm of det(x) is ``log(sign) + logabsdet``, and its derivative is the inverse; a real sign has derivative 0."""
    factor = xp.astype(g[1], x.dtype) if 1 in g else None
    if 0 in g and is_complex(xp, x):
        phase = xp.astype(xp.imag(g[0] * out[0]), x.dtype) * 1j
        factor = phase if factor is None else factor + phase
    if factor is None:
        return xp.zeros_like(x)
    return factor[..., None, None] * xp.matrix_transpose(xp.linalg.inv(x))


_slogdet.derivatives(x=_slogdet_rule)


def slogdet(x: Tensor, /) -> SlogdetResult:
    """Sign (for complex matrices, phase) and logarithm of the absolute value of the determinants of square matrices.

    Example:
        >>> sign, logabsdet = tt.linalg.slogdet(tt.asarray([[0.0, 1.0], [1.0, 0.0]]))
        >>> sign
        Tensor(-1., dtype=float32, device='numpy:cpu')
    """
    return SlogdetResult(*_slogdet(x))


@operation(saves=Saves.BOTH)
def pinv(xp: Any, x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """Moore-Penrose pseudo-inverses; singular values up to ``rtol`` times the largest one are treated as 0.

    The derivative is for changes of x that keep its rank (Golub and Pereyra 1973, equation 4.12).

    Example:
        >>> tt.linalg.pinv(tt.asarray([[2.0, 0.0], [0.0, 0.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.0]]
    """
    return xp.linalg.pinv(x, rtol=rtol)


def _pinv_rule(xp: Any, g: Any, out: Any, x: Any, rtol: Any = None) -> Any:
    p, ph, gh = out, adjoint(xp, out), adjoint(xp, g)
    inside = -xp.matmul(ph, xp.matmul(g, ph))
    left = xp.matmul(gh, xp.matmul(p, ph))
    right = xp.matmul(xp.matmul(ph, p), gh)
    return inside + left - xp.matmul(x, xp.matmul(p, left)) + right - xp.matmul(xp.matmul(right, p), x)


pinv.derivatives(x=conjugate_convention(_pinv_rule))


@operation
def matrix_rank(xp: Any, x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """Rank of each matrix: the number of singular values greater than ``rtol`` times the largest one.

    Example:
        >>> tt.linalg.matrix_rank(tt.asarray([[1.0, 2.0], [2.0, 4.0]]))
        Tensor(1, dtype=int64, device='numpy:cpu')
    """
    return xp.linalg.matrix_rank(x, rtol=rtol)


matrix_rank.piecewise_constant()
