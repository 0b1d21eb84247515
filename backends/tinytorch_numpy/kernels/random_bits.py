"""The framework's random bits, which are a hash of where they are used, computed in place; they decide what dropout keeps."""

from __future__ import annotations

import numpy

from tinytorch.backend.contract import Array

_WORD = 0xFFFFFFFF


def stream(key: Array, site: int) -> int:
    """What sets this use of randomness apart from others: a hash of ``key (2)``, the run's and the step's number, and of ``site``."""
    run, step = (int(part) & _WORD for part in key)
    return _mix(run ^ _mix(step ^ _mix(site & _WORD)))


def _mix(x: int) -> int:
    x = (x ^ (x >> 16)) * 0x7FEB352D & _WORD
    x = (x ^ (x >> 15)) * 0x846CA68B & _WORD
    return x ^ (x >> 16)


def keep_bits(index: Array, spare: Array, stream: int, p: float) -> Array:
    """All bits set where an element is kept when a share ``p`` is dropped, none where it is dropped.

    Args:
        index: uint32, each element's place in the flattened array. It is overwritten, and so is ``spare``, of the same shape.
        stream: from `stream`.

    Returns:
        int32 in the memory of ``index``.
    """
    index ^= numpy.uint32(stream)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        numpy.right_shift(index, numpy.uint32(shift), out=spare)
        index ^= spare
        index *= numpy.uint32(factor)
    numpy.right_shift(index, numpy.uint32(16), out=spare)
    index ^= spare
    index &= numpy.uint32(0x7FFFFFFF)
    # kept where bits >= threshold: threshold - 1 - bits is negative there, and its sign, copied to all bits, is the answer
    bits = index.view(numpy.int32)
    numpy.subtract(numpy.int32(int(p * 2**31) - 1), bits, out=bits)
    bits >>= numpy.int32(31)
    return bits


def apply_bits(x: Array, bits: Array, out: Array) -> None:
    """``x`` where ``bits`` are set and 0 elsewhere, without a branch."""
    words = numpy.dtype(f"i{x.dtype.itemsize}")
    numpy.bitwise_and(x.view(words), bits, out=out.view(words))
