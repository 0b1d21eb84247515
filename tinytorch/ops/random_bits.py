"""A counter-based random number generator: the same bits on every backend, in a replayed step and in a resumed run.

The bits are a hash of (key, step, call site, index), as in Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"). The hash is
the 32-bit multiply-xorshift function lowbias32 of C. Wellons. It is computed in int32, since all array libraries support multiplication
with wrap-around and shifts of int32; a logical shift is an arithmetic shift with the sign bits masked off.
"""

from __future__ import annotations

from math import prod
from typing import Any


def _mix(xp: Any, x: Any) -> Any:
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -0x7B935975  # 0x846ca68b as int32
    return x ^ ((x >> 16) & 0xFFFF)


def random_bits(xp: Any, key: Any, site: int, shape: tuple[int, ...], first: int = 0) -> Any:
    """31 random bits for each element of ``shape``, int32 from 0 to 2^31 - 1.

    Args:
        xp: the namespace of ``key``.
        key: int32 of shape (2): the key of the run and the step number.
        site: call site, the index of this use of random bits within the step.
        shape: shape of the result.
        first: offset of the first element among those of the whole batch, for a shard of a batch. Positions are counted modulo 2^32.
    """
    run, step = key[0:1], key[1:2]  # arrays with one element, since numpy warns of overflow for scalars
    stream = _mix(xp, run ^ _mix(xp, step ^ _mix(xp, xp.full((1,), site, dtype=xp.int32))))
    start = (first + 2**31) % 2**32 - 2**31  # converted to int32; the addition below wraps around
    index = xp.arange(prod(shape), dtype=xp.int32) + xp.full((1,), start, dtype=xp.int32)
    return xp.reshape(_mix(xp, index ^ stream) & 0x7FFFFFFF, shape)


def keep_mask(xp: Any, key: Any, site: int, shape: tuple[int, ...], p: float, first: int = 0) -> Any:
    """The dropout mask: boolean, false with probability ``p``."""
    return random_bits(xp, key, site, shape, first) >= int(p * 2**31)
