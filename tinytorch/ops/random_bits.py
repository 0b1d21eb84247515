"""Random bits that are a function of where they are used, so that every backend, replay and resumed run draws the same.

A counter-based generator in the sense of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"), here with a multiply-xorshift
mix of 32 bits (the constants are those of C. Wellons' lowbias32). It computes in int32, which all array libraries multiply with
wrap-around and shift; a logical shift is an arithmetic one with the copies of the sign masked off.
"""

from __future__ import annotations

from math import prod
from typing import Any


def _mix(xp: Any, x: Any) -> Any:
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -0x7B935975  # 0x846ca68b as a signed number
    return x ^ ((x >> 16) & 0xFFFF)


def random_bits(xp: Any, key: Any, site: int, shape: tuple[int, ...], first: int = 0) -> Any:
    """31 random bits for each element of ``shape``, int32 from 0 to 2^31 - 1.

    Args:
        key: int32 of shape (2), the run's key and the step's number.
        site: which use of randomness within the step this is.
        first: how many of its numbers come before these: a part of the batch draws its part of them. Positions count modulo 2^32.
    """
    run, step = key[0:1], key[1:2]  # arrays of one element: numpy would warn of overflow in single numbers
    stream = _mix(xp, run ^ _mix(xp, step ^ _mix(xp, xp.full((1,), site, dtype=xp.int32))))
    start = (first + 2**31) % 2**32 - 2**31  # as int32 has it: what is added wraps around
    index = xp.arange(prod(shape), dtype=xp.int32) + xp.full((1,), start, dtype=xp.int32)
    return xp.reshape(_mix(xp, index ^ stream) & 0x7FFFFFFF, shape)


def keep_mask(xp: Any, key: Any, site: int, shape: tuple[int, ...], p: float, first: int = 0) -> Any:
    """Whether each element is kept when a share ``p`` of them is dropped at random."""
    return random_bits(xp, key, site, shape, first) >= int(p * 2**31)
