"""Counter-based random bits: a hash of key, call site and element index, computed in place, for the masks of dropout."""

from __future__ import annotations

import numpy

from tinytorch.backend.contract import Array

_WORD = 0xFFFFFFFF  # 32 bits


def hash_key(key: Array, site: int) -> int:
    """Hash ``key (2)``, the key of the run and the step number, with the call site ``site``."""
    run, step = (int(number) & _WORD for number in key)
    return _mix(run ^ _mix(step ^ _mix(site & _WORD)))


def _mix(x: int) -> int:
    x = (x ^ (x >> 16)) * 0x7FEB352D & _WORD
    x = (x ^ (x >> 15)) * 0x846CA68B & _WORD
    return x ^ (x >> 16)


def keep_bits(index: Array, spare: Array, hashed_key: int, p: float) -> Array:
    """Bit masks for dropout: all bits are set for elements that are kept, and none for those that are dropped, each with probability ``p``.

    Args:
        index: uint32, the index of each element in the flattened array. Overwritten.
        spare: workspace of the same shape and dtype. Overwritten.
        hashed_key: the result of `hash_key`.
        p: probability of dropping an element.

    Returns:
        int32, in the memory of ``index``.
    """
    index ^= numpy.uint32(hashed_key)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        numpy.right_shift(index, numpy.uint32(shift), out=spare)
        index ^= spare
        index *= numpy.uint32(factor)
    numpy.right_shift(index, numpy.uint32(16), out=spare)
    index ^= spare
    index &= numpy.uint32(0x7FFFFFFF)
    # an element is kept if bits >= threshold: threshold - 1 - bits is negative then, and the shift copies its sign to all bits
    bits = index.view(numpy.int32)
    numpy.subtract(numpy.int32(int(p * 2**31) - 1), bits, out=bits)
    bits >>= numpy.int32(31)
    return bits


def apply_bits(x: Array, bits: Array, out: Array) -> None:
    """``x`` where ``bits`` are set and 0 elsewhere, without a branch."""
    words = numpy.dtype(f"i{x.dtype.itemsize}")
    numpy.bitwise_and(x.view(words), bits, out=out.view(words))
