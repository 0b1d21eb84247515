"""Element-wise trigonometric and hyperbolic functions with derivative rules."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.complex_numbers import is_complex
from tinytorch.array_api.kinks import kinked
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "hypot",
    "sin",
    "sinh",
    "tan",
    "tanh",
]


@operation
def sin(xp: Any, x: Tensor, /) -> Tensor:
    """Sine of x in radians, element-wise.

    Example:
        >>> tt.sin(tt.asarray([0.0, tt.pi / 2]))
        Tensor([0., 1.], dtype=float32, device='numpy:cpu')
    """
    return xp.sin(x)


sin.derivatives(x=lambda xp, g, out, x: g * xp.cos(x))


@operation
def cos(xp: Any, x: Tensor, /) -> Tensor:
    """Cosine of x in radians, element-wise.

    Example:
        >>> tt.cos(tt.asarray([0.0, tt.pi]))
        Tensor([ 1., -1.], dtype=float32, device='numpy:cpu')
    """
    return xp.cos(x)


cos.derivatives(x=lambda xp, g, out, x: -g * xp.sin(x))


@operation(saves=Saves.OUTPUT)
def tan(xp: Any, x: Tensor, /) -> Tensor:
    """Tangent of x in radians, element-wise.

    Example:
        >>> tt.tan(tt.asarray([0.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.tan(x)


tan.derivatives(x=lambda xp, g, out, x: g * (1 + out * out))


@operation
def asin(xp: Any, x: Tensor, /) -> Tensor:
    """Inverse sine in radians, element-wise.

    Example:
        >>> tt.asin(tt.asarray([0.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.asin(x)


asin.derivatives(x=lambda xp, g, out, x: g / xp.sqrt((1 - x) * (1 + x)))  # 1 - x * x would lose precision near 1


@operation
def acos(xp: Any, x: Tensor, /) -> Tensor:
    """Inverse cosine in radians, element-wise.

    Example:
        >>> tt.acos(tt.asarray([1.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.acos(x)


acos.derivatives(x=lambda xp, g, out, x: -g / xp.sqrt((1 - x) * (1 + x)))


@operation
def atan(xp: Any, x: Tensor, /) -> Tensor:
    """Inverse tangent in radians, element-wise.

    Example:
        >>> tt.atan(tt.asarray([0.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.atan(x)


atan.derivatives(x=lambda xp, g, out, x: g / (1 + x * x))


@operation
def atan2(xp: Any, x1: Tensor, x2: Tensor, /) -> Tensor:
    """Angle of the point (x2, x1) in radians, element-wise.

    Example:
        >>> tt.atan2(tt.asarray([1.0]), tt.asarray([0.0]))
        Tensor([1.5707964], dtype=float32, device='numpy:cpu')
    """
    return xp.atan2(x1, x2)


atan2.derivatives(
    x1=lambda xp, g, out, x1, x2: g * _divide_by_square(xp, x2, xp.hypot(x1, x2)),
    x2=lambda xp, g, out, x1, x2: -g * _divide_by_square(xp, x1, xp.hypot(x1, x2)),
)


def _divide_by_square(xp: Any, x: Any, length: Any) -> Any:
    """``x / norm**2``, divided twice because the square may overflow or underflow."""
    return x / length / length


@operation
def sinh(xp: Any, x: Tensor, /) -> Tensor:
    """Hyperbolic sine, element-wise.

    Example:
        >>> tt.sinh(tt.asarray([0.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.sinh(x)


sinh.derivatives(x=lambda xp, g, out, x: g * xp.cosh(x))


@operation
def cosh(xp: Any, x: Tensor, /) -> Tensor:
    """Hyperbolic cosine, element-wise.

    Example:
        >>> tt.cosh(tt.asarray([0.0]))
        Tensor([1.], dtype=float32, device='numpy:cpu')
    """
    return xp.cosh(x)


cosh.derivatives(x=lambda xp, g, out, x: g * xp.sinh(x))


@operation(saves=Saves.OUTPUT)
def tanh(xp: Any, x: Tensor, /) -> Tensor:
    """Hyperbolic tangent, element-wise.

    Example:
        >>> tt.tanh(tt.asarray([0.0, 20.0]))
        Tensor([0., 1.], dtype=float32, device='numpy:cpu')
    """
    return xp.tanh(x)


tanh.derivatives(x=lambda xp, g, out, x: g * (1 - out * out))


@operation
def asinh(xp: Any, x: Tensor, /) -> Tensor:
    """Inverse hyperbolic sine, element-wise.

    Example:
        >>> tt.asinh(tt.asarray([0.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.asinh(x)


asinh.derivatives(x=lambda xp, g, out, x: g / (xp.sqrt(x * x + 1) if is_complex(xp, x) else xp.hypot(x, xp.ones_like(x))))


@operation
def acosh(xp: Any, x: Tensor, /) -> Tensor:
    """Inverse hyperbolic cosine, element-wise.

    Example:
        >>> tt.acosh(tt.asarray([1.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.acosh(x)


acosh.derivatives(x=lambda xp, g, out, x: g / (xp.sqrt(x - 1) * xp.sqrt(x + 1)))  # two roots: the correct branch for complex x


@operation
def atanh(xp: Any, x: Tensor, /) -> Tensor:
    """Inverse hyperbolic tangent, element-wise.

    Example:
        >>> tt.atanh(tt.asarray([0.0]))
        Tensor([0.], dtype=float32, device='numpy:cpu')
    """
    return xp.atanh(x)


atanh.derivatives(x=lambda xp, g, out, x: g / ((1 - x) * (1 + x)))


@operation(saves=Saves.BOTH)
def hypot(xp: Any, x1: Tensor, x2: Tensor, /) -> Tensor:
    """Norm of the vector (x1, x2), element-wise. The derivative at the zero vector is defined as 0.

    Example:
        >>> tt.hypot(tt.asarray([3.0]), tt.asarray([4.0]))
        Tensor([5.], dtype=float32, device='numpy:cpu')
    """
    return xp.hypot(x1, x2)


def _divide_by_norm(xp: Any, x: Any, norm: Any) -> Any:
    zero = norm == 0
    return kinked(xp, x / xp.where(zero, xp.ones_like(norm), norm), norm, zero)


hypot.derivatives(
    x1=lambda xp, g, out, x1, x2: g * _divide_by_norm(xp, x1, out),
    x2=lambda xp, g, out, x1, x2: g * _divide_by_norm(xp, x2, out),
)
