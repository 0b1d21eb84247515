"""The exponential function in float32 as sums and products alone, which LLVM works out for many numbers at a time."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy

from tinytorch_numpy.compiled.support import loop

_ONE: Final = numpy.float32(1)
# log 2 in two parts, so that multiples of the first are exact: Cody and Waite, Software Manual for the Elementary Functions, chapter 6
_HIGH: Final = numpy.float32(0.693359375)
_LOW: Final = numpy.float32(math.log(2) - 0.693359375)
_LOG2_E: Final = numpy.float32(1 / math.log(2))
# exp(r) = 1 + r + r^2 (c_0 + c_1 r + ...) for |r| <= log(2) / 2, from expf of the Cephes library
_C0: Final = numpy.float32(5.0000001201e-1)
_C1: Final = numpy.float32(1.6666665459e-1)
_C2: Final = numpy.float32(4.1665795894e-2)
_C3: Final = numpy.float32(8.3334519073e-3)
_C4: Final = numpy.float32(1.3981999507e-3)
_C5: Final = numpy.float32(1.9875691500e-4)
# added, it rounds to a whole number, which its last bits are then: 1.5 * 2^23
_ROUND: Final = numpy.float32(12582912)
# from the smallest normal number to where the exponent's bits say infinity
_LEAST: Final = numpy.float32(-87.3)
_MOST: Final = numpy.float32(88.8)
_EXPONENT: Final = numpy.int32(23)
_BIAS: Final = numpy.int32(127 << 23)


@loop("contract")
def exponential(x: Any) -> Any:
    """To 1.5 units in the last place; infinity from 88.4 on, 1e-38 from -87.3 down, NaN for NaN."""
    x = _LEAST if x < _LEAST else x
    x = _MOST if x > _MOST else x
    shifted = x * _LOG2_E + _ROUND
    whole = shifted - _ROUND
    r = x - whole * _HIGH - whole * _LOW
    series = ((((_C5 * r + _C4) * r + _C3) * r + _C2) * r + _C1) * r + _C0
    bits = numpy.int32((numpy.float32(shifted).view(numpy.int32) << _EXPONENT) + _BIAS)
    return (series * r * r + r + _ONE) * numpy.int32(bits).view(numpy.float32)
