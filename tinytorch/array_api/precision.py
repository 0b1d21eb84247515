"""Accumulation of 16-bit numbers in float32: float16 overflows above 65504 and cannot represent odd integers above 2048."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LARGEST_16 = 65504.0  #: the largest finite float16


def upcast(xp: Any, x: Any) -> Any:
    """x in float32 if it has a 16-bit dtype, otherwise x itself."""
    if getattr(x.dtype, "itemsize", 2) != 2:  # the common case; dtypes of array-api-strict have no itemsize
        return x
    return xp.astype(x, xp.float32) if xp.isdtype(x.dtype, "real floating") and xp.finfo(x.dtype).bits < 32 else x


def downcast(xp: Any, x: Any, like: Any) -> Any:
    """x in the dtype of ``like``."""
    return x if x.dtype == like.dtype else xp.astype(x, like.dtype)


def in_32_bits(xp: Any, function: Callable[[Any], Any], x: Any) -> Any:
    """``function(x)``. If x has a 16-bit dtype, it is computed in float32 and converted back to the dtype of x."""
    wide = upcast(xp, x)
    return function(x) if wide is x else downcast(xp, function(wide), x)
