"""Functions of complex numbers: the conjugate, and the real and imaginary parts."""

from __future__ import annotations

from typing import Any

from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "conj",
    "imag",
    "real",
]


@operation(saves=Saves.NOTHING)
def conj(xp: Any, x: Tensor, /) -> Tensor:
    """Complex conjugate, element-wise.

    Example:
        >>> tt.conj(tt.asarray([1 + 2j]))
        Tensor([1.-2.j], dtype=complex64, device='numpy:cpu')
    """
    return xp.conj(x)


conj.derivatives(x=lambda xp, g, out, x: conjugate(xp, g))


@operation(saves=Saves.NOTHING)
def real(xp: Any, x: Tensor, /) -> Tensor:
    """Real part of a complex Tensor.

    Example:
        >>> tt.real(tt.asarray([1 + 2j]))
        Tensor([1.], dtype=float32, device='numpy:cpu')
    """
    return xp.real(x)


real.derivatives(x=lambda xp, g, out, x: g)  # the graph converts it to the complex dtype of x


@operation(saves=Saves.NOTHING)
def imag(xp: Any, x: Tensor, /) -> Tensor:
    """Imaginary part of a complex Tensor.

    Example:
        >>> tt.imag(tt.asarray([1 + 2j]))
        Tensor([2.], dtype=float32, device='numpy:cpu')
    """
    return xp.imag(x)


imag.derivatives(x=lambda xp, g, out, x: xp.astype(g, x.dtype) * -1j)


def is_complex(xp: Any, x: Any) -> bool:
    """Whether an array or Tensor has a complex dtype."""
    return xp.isdtype(x.dtype, "complex floating")


def conjugate(xp: Any, x: Any) -> Any:
    """The complex conjugate of an array of any dtype; a real array is returned unchanged."""
    return xp.conj(x) if is_complex(xp, x) else x
