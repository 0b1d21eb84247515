"""Element-wise functions on numbers, each with its derivative. Operands broadcast; the graph sums gradients over broadcast dimensions."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.kinks import kinked
from tinytorch.array_api.precision import LARGEST_16, in_32_bits
from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "abs",
    "add",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "divide",
    "floor",
    "floor_divide",
    "imag",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "nextafter",
    "positive",
    "real",
    "reciprocal",
    "remainder",
    "round",
    "sign",
    "subtract",
    "trunc",
]

Number = Tensor | float | complex


@operation(saves=Saves.NOTHING)
def add(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """x1 + x2."""
    return xp.add(x1, x2)


add.derivatives(
    x1=lambda xp, g, out, x1, x2: g,
    x2=lambda xp, g, out, x1, x2: g,
)


@operation(saves=Saves.NOTHING)
def subtract(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """x1 - x2."""
    return xp.subtract(x1, x2)


subtract.derivatives(
    x1=lambda xp, g, out, x1, x2: g,
    x2=lambda xp, g, out, x1, x2: -g,
)


@operation(saves=Saves.OTHERS)
def multiply(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """x1 * x2."""
    return xp.multiply(x1, x2)


multiply.derivatives(
    x1=lambda xp, g, out, x1, x2: g * x2,
    x2=lambda xp, g, out, x1, x2: g * x1,
)


@operation
def divide(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """x1 / x2. 16-bit numbers may be divided by a Python number that their type cannot hold, such as a count."""
    if (type(x2) is float or type(x2) is int) and not -LARGEST_16 <= x2 <= LARGEST_16:
        return in_32_bits(xp, lambda x1: xp.divide(x1, x2), x1)
    return xp.divide(x1, x2)


divide.derivatives(
    x1=lambda xp, g, out, x1, x2: divide.forward(xp, g, x2),
    x2=lambda xp, g, out, x1, x2: -g * (x1 / x2) / x2,
)


@operation
def remainder(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """Remainder of x1 / x2, with the sign of x2."""
    return xp.remainder(x1, x2)


remainder.derivatives(
    x1=lambda xp, g, out, x1, x2: g,
    x2=lambda xp, g, out, x1, x2: -g * xp.floor_divide(x1, x2),  # not the floor of x1 / x2, which may have been rounded up
)


@operation(saves=Saves.NOTHING)
def negative(xp: Any, x: Tensor, /) -> Tensor:
    """-x."""
    return xp.negative(x)


negative.derivatives(x=lambda xp, g, out, x: -g)


@operation(saves=Saves.NOTHING)
def positive(xp: Any, x: Tensor, /) -> Tensor:
    """+x."""
    return xp.positive(x)


positive.derivatives(x=lambda xp, g, out, x: g)


@operation
def abs(xp: Any, x: Tensor, /) -> Tensor:
    """Absolute value; its derivative at 0 is taken as 0."""
    return xp.abs(x)


def _abs_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    if is_complex(xp, x):
        return g * kinked(xp, xp.conj(xp.sign(x)), x, x == 0)
    return g * xp.sign(x)


abs.derivatives(x=_abs_rule)


def _share_of_ties(xp: Any, g: Any, ahead: Any, tied: Any) -> Any:
    """``g`` where one operand is ahead of the other, half of it where they are equal."""
    return xp.where(ahead, g, xp.where(tied, g / 2, xp.zeros_like(g)))


@operation
def maximum(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """The larger of x1 and x2; equal operands share the gradient."""
    return xp.maximum(x1, x2)


maximum.derivatives(
    x1=lambda xp, g, out, x1, x2: _share_of_ties(xp, g, x1 > x2, x1 == x2),
    x2=lambda xp, g, out, x1, x2: _share_of_ties(xp, g, x2 > x1, x1 == x2),
)


@operation
def minimum(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """The smaller of x1 and x2; equal operands share the gradient."""
    return xp.minimum(x1, x2)


minimum.derivatives(
    x1=lambda xp, g, out, x1, x2: _share_of_ties(xp, g, x1 < x2, x1 == x2),
    x2=lambda xp, g, out, x1, x2: _share_of_ties(xp, g, x2 < x1, x1 == x2),
)


@operation
def floor_divide(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """Largest whole number at or below x1 / x2."""
    return xp.floor_divide(x1, x2)


floor_divide.piecewise_constant()


@operation
def floor(xp: Any, x: Tensor, /) -> Tensor:
    """Largest whole number at or below x."""
    return xp.floor(x)


floor.piecewise_constant()


@operation
def ceil(xp: Any, x: Tensor, /) -> Tensor:
    """Smallest whole number at or above x."""
    return xp.ceil(x)


ceil.piecewise_constant()


@operation
def round(xp: Any, x: Tensor, /) -> Tensor:
    """Nearest whole number, halves to the even one."""
    return xp.round(x)


round.piecewise_constant()


@operation
def trunc(xp: Any, x: Tensor, /) -> Tensor:
    """Nearest whole number towards 0."""
    return xp.trunc(x)


trunc.piecewise_constant()


@operation(saves=Saves.BOTH)
def sign(xp: Any, x: Tensor, /) -> Tensor:
    """-1, 0 or 1; of a complex number its direction x / abs(x), of which the derivative at 0 is taken as 0."""
    return xp.sign(x)


def _sign_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    if not is_complex(xp, x):
        return xp.zeros_like(g)
    size = xp.abs(x)
    zero = size == 0
    across = (g - xp.real(g * out) * xp.conj(out)) / xp.astype(xp.where(zero, xp.ones_like(size), size), x.dtype)
    return xp.where(zero, g * kinked(xp, xp.zeros_like(x), x, zero), across)


sign.derivatives(x=_sign_rule)


@operation(saves=Saves.OUTPUT)
def reciprocal(xp: Any, x: Tensor, /) -> Tensor:
    """1 / x."""
    return xp.reciprocal(x)


reciprocal.derivatives(x=lambda xp, g, out, x: -g * (out * out))


@operation
def copysign(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """The magnitude of x1 with the sign of x2."""
    return xp.copysign(x1, x2)


copysign.derivatives(
    x1=lambda xp, g, out, x1, x2: g * _same_sign(xp, g, x1, x2),
    x2=lambda xp, g, out, x1, x2: xp.zeros_like(g),
)


def _same_sign(xp: Any, g: Any, x1: Any, x2: Any) -> Any:
    """1 where x1 and x2 have one sign, -1 where they differ; zeros have signs too."""
    one = xp.ones_like(g)
    return xp.copysign(one, x1) * xp.copysign(one, x2)


@operation
def nextafter(xp: Any, x1: Number, x2: Number, /) -> Tensor:
    """The next floating-point number from x1 in the direction of x2."""
    return xp.nextafter(x1, x2)


nextafter.no_derivative("it steps between neighbouring floating-point numbers, which is no function of real ones")


@operation(saves=Saves.NOTHING)
def conj(xp: Any, x: Tensor, /) -> Tensor:
    """Complex conjugate."""
    return xp.conj(x)


conj.derivatives(x=lambda xp, g, out, x: conjugate(xp, g))


@operation(saves=Saves.NOTHING)
def real(xp: Any, x: Tensor, /) -> Tensor:
    """Real part."""
    return xp.real(x)


real.derivatives(x=lambda xp, g, out, x: g)  # the graph converts it to the complex type of x


@operation(saves=Saves.NOTHING)
def imag(xp: Any, x: Tensor, /) -> Tensor:
    """Imaginary part."""
    return xp.imag(x)


imag.derivatives(x=lambda xp, g, out, x: xp.astype(g, x.dtype) * -1j)


def is_complex(xp: Any, x: Any) -> bool:
    """Whether an array, raw or a Tensor, is of a complex type."""
    return xp.isdtype(x.dtype, "complex floating")


def conjugate(xp: Any, x: Any) -> Any:
    """The complex conjugate of an array of any type; a real one is its own."""
    return xp.conj(x) if is_complex(xp, x) else x


@operation
def _clip(xp: Any, x: Tensor, min: Number | None, max: Number | None, /) -> Tensor:
    return xp.clip(x, min, max)


_clip.derivatives(
    x=lambda xp, g, out, x, min, max: xp.where(_inside(xp, x, min, max), g, xp.zeros_like(g)),
    min=lambda xp, g, out, x, min, max: xp.where(x < min, g, xp.zeros_like(g)),
    max=lambda xp, g, out, x, min, max: xp.where(x > max, g, xp.zeros_like(g)),
)
_clip.__name__ = "clip"


def _inside(xp: Any, x: Any, min: Any, max: Any) -> Any:
    inside = xp.ones_like(x, dtype=xp.bool)
    if min is not None:
        inside = inside & (x >= min)
    if max is not None:
        inside = inside & (x <= max)
    return inside


def clip(x: Tensor, /, min: Number | None = None, max: Number | None = None) -> Tensor:
    """x limited to [min, max]; at a limit the gradient goes to x."""
    return _clip(x, min, max)
