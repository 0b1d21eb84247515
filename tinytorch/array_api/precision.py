"""Sums of 16-bit numbers are taken in 32 bits."""

from __future__ import annotations

from typing import Any


def widen(xp: Any, x: Any) -> Any:
    """x in float32 where it has 16 bits, otherwise x itself."""
    return xp.astype(x, xp.float32) if xp.finfo(x.dtype).bits < 32 else x


def narrow(xp: Any, x: Any, like: Any) -> Any:
    """x in the type of ``like``."""
    return x if x.dtype == like.dtype else xp.astype(x, like.dtype)
