"""Comparison up to a tolerance, and replacement of numbers that are not finite. None of these functions is in the standard."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.approximation import check_real_floating
from tinytorch.array_api.arithmetic import Number, abs
from tinytorch.array_api.creation import asarray
from tinytorch.array_api.data_types import astype, finfo
from tinytorch.array_api.logic import equal, isfinite, isnan
from tinytorch.array_api.searching import where
from tinytorch.array_api.statistics import all
from tinytorch.autograd.operation import operation
from tinytorch.tensor import Tensor

__all__ = [
    "allclose",
    "isclose",
    "nan_to_num",
]


def isclose(x1: Number, x2: Number, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether ``|x1 - x2| <= atol + rtol * |x2|``, element-wise; infinities are close only to themselves.

    The comparison is computed in float64 if the backend has it, since float16 cannot represent the tolerance.

    Args:
        x1: a Tensor or a number.
        x2: a Tensor or a number, broadcast with x1.
        rtol: relative tolerance.
        atol: absolute tolerance.
        equal_nan: whether NaN is close to NaN.

    Returns:
        Booleans.

    Example:
        >>> tt.isclose(tt.asarray([1.0, 2.0]), tt.asarray([1.0 + 1e-7, 2.1]))
        Tensor([ True, False], dtype=bool, device='numpy:cpu')
    """
    first, second = _wide(x1, x2), _wide(x2, x1)
    floating = _is_floating(x1) or _is_floating(x2)
    same = equal(first, second) if floating else equal(x1, x2)
    finite = isfinite(first) & isfinite(second)
    zero = asarray(0, dtype=second.dtype, device=second.device)
    distance = abs(where(finite, first, zero) - where(finite, second, zero))
    tolerance = atol + rtol * abs(where(finite, second, zero))
    near = finite & (distance <= tolerance)
    close = same | (near if floating else near & (tolerance >= 1))  # integers beyond 2^53 that differ may be equal in float64
    return close | (isnan(first) & isnan(second)) if equal_nan else close


def _is_floating(x: Number) -> bool:
    return x.dtype.is_floating if isinstance(x, Tensor) else isinstance(x, float | complex)


def _wide(x: Number, other: Number) -> Tensor:
    """x without its gradient, in float64, or in float32 if the backend has no float64; complex numbers keep their dtype."""
    like = x if isinstance(x, Tensor) else other
    if not isinstance(like, Tensor):
        raise TypeError("isclose expected a Tensor, got two numbers; use math.isclose")
    wide = "float64" if "float64" in like.backend.capabilities.dtypes else "float32"
    if isinstance(x, Tensor):
        return x.detach() if x.dtype.kind == "complex floating" else astype(x.detach(), wide)
    return asarray(x, dtype=None if isinstance(x, complex) else wide, device=like.device)


def allclose(x1: Number, x2: Number, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close, as `isclose` defines it. The result is a Python bool, which is copied from the device.

    Args:
        x1, x2, rtol, atol, equal_nan: as for `isclose`.

    Example:
        >>> tt.allclose(tt.asarray([0.1 + 0.2]), 0.3)
        True
    """
    return bool(all(isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan)))


@operation
def nan_to_num(xp: Any, x: Tensor, /, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with numbers in place of NaN and infinities, element-wise. The derivative is 0 at replaced elements.

    Args:
        x: real floating-point, any shape.
        nan: replaces NaN.
        posinf: replaces ``inf``; defaults to the largest number of the dtype.
        neginf: replaces ``-inf``; defaults to the smallest number of the dtype.

    Example:
        >>> tt.nan_to_num(tt.asarray([1.0, tt.nan, tt.inf]), posinf=9.0)
        Tensor([1., 0., 9.], dtype=float32, device='numpy:cpu')
    """
    check_real_floating(xp, "nan_to_num", x)
    limits = finfo(x.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    infinite = xp.isinf(x)
    x = xp.where(infinite & (x > 0), xp.full_like(x, high), xp.where(infinite & (x < 0), xp.full_like(x, low), x))
    return xp.where(xp.isnan(x), xp.full_like(x, nan), x)


nan_to_num.derivatives(
    x=lambda xp, g, out, x, nan=0.0, posinf=None, neginf=None: xp.where(xp.isfinite(x), g, xp.zeros_like(g)),
)
