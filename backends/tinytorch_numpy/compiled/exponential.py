"""The exponential function in float32, from additions and multiplications only, so that LLVM can vectorize it."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy

from tinytorch_numpy.compiled.support import loop

_ONE: Final = numpy.float32(1)
# log 2 = _HIGH + _LOW, where n * _HIGH is exact: Cody and Waite, Software Manual for the Elementary Functions, chapter 6
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
# 1.5 * 2^23: adding it rounds to an integer, which the low bits of the sum then hold
_ROUND: Final = numpy.float32(12582912)
# range of x: from the smallest normal result to the exponent bits of infinity
_MIN_X: Final = numpy.float32(-87.3)
_MAX_X: Final = numpy.float32(88.8)
_EXPONENT_SHIFT: Final = numpy.int32(23)
_BIAS: Final = numpy.int32(127 << 23)


@loop("contract")
def exponential(x: Any) -> Any:
    """exp(x), accurate to 1.5 ULP: infinity for x >= 88.4, about 1e-38 for x <= -87.3, NaN for NaN."""
    x = _MIN_X if x < _MIN_X else x
    x = _MAX_X if x > _MAX_X else x
    shifted = x * _LOG2_E + _ROUND
    n = shifted - _ROUND
    r = x - n * _HIGH - n * _LOW
    series = ((((_C5 * r + _C4) * r + _C3) * r + _C2) * r + _C1) * r + _C0
    bits = numpy.int32((numpy.float32(shifted).view(numpy.int32) << _EXPONENT_SHIFT) + _BIAS)
    return (series * r * r + r + _ONE) * numpy.int32(bits).view(numpy.float32)
