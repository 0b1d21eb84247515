"""The standard's linear algebra extension on Tensors, with derivative rules, and `lstsq`.

The last two axes are matrices; the axes before them are batch dimensions. Functions of symmetric (Hermitian) matrices assume symmetry
without checking it, and their gradients are symmetric.
"""

from __future__ import annotations

from tinytorch.array_api.linalg.decompositions import cholesky, eigh, eigvalsh, qr, svd, svdvals
from tinytorch.array_api.linalg.least_squares import lstsq
from tinytorch.array_api.linalg.norms import matrix_norm, vector_norm
from tinytorch.array_api.linalg.products import cross, diagonal, matrix_power, outer, trace
from tinytorch.array_api.linalg.solving import det, inv, matrix_rank, pinv, slogdet, solve
from tinytorch.array_api.linear_algebra import matmul, tensordot, vecdot
from tinytorch.array_api.manipulation import matrix_transpose
from tinytorch.autograd.keywords import accept_dim as _accept_dim

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]

_accept_dim(globals(), __all__)
