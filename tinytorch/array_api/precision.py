"""16-bit numbers are summed, counted and scaled in 32 bits: float16 ends at 65504, and has no odd integers beyond 2048."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LARGEST_16 = 65504.0  #: the largest number of float16


def upcast(xp: Any, x: Any) -> Any:
    """x in float32 where it has 16 bits, otherwise x itself."""
    if getattr(x.dtype, "itemsize", 2) != 2:  # the common case; types of array-api-strict do not say
        return x
    return xp.astype(x, xp.float32) if xp.isdtype(x.dtype, "real floating") and xp.finfo(x.dtype).bits < 32 else x


def downcast(xp: Any, x: Any, like: Any) -> Any:
    """x in the type of ``like``."""
    return x if x.dtype == like.dtype else xp.astype(x, like.dtype)


def in_32_bits(xp: Any, function: Callable[[Any], Any], x: Any) -> Any:
    """``function(x)`` in the type that it has for x, computed in float32 where x has 16 bits."""
    wide = upcast(xp, x)
    return function(x) if wide is x else downcast(xp, function(wide), x)
