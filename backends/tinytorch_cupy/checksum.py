"""Checksums of arrays on the GPU, which show whether two computations give the same bits without keeping the results of the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Array

#: Number of words that are multiplied together; the temporary array of a block has 2 MiB.
_BLOCK: Final = 2**18


class Checksum:
    """A checksum of 64 bits: the sum of an array's words times random odd multipliers, modulo 2**64 (multilinear hashing).

    Integer sums do not depend on the order of additions, so equal bits always have equal checksums. Different bits have equal ones with a
    probability of at most 2**-32: words have up to 32 bits, and multipliers 64.

    Args:
        cupy: the module.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        random = numpy.random.default_rng(0)
        self._multipliers = cupy.asarray(random.integers(0, 2**64, _BLOCK, dtype=numpy.uint64) | numpy.uint64(1))

    def of(self, arrays: Sequence[Array]) -> Array:
        """The checksum of each array, as uint64 (N). NaNs with the same bits are equal, and zeros of different sign are not."""
        checksums = self._cupy.zeros(len(arrays), dtype="uint64")
        for i, array in enumerate(arrays):
            if array.size:
                checksums[i] = self._of_words(_words(self._cupy, array))
        return checksums

    def _of_words(self, words: Array) -> Array:
        starts = range(0, words.size, _BLOCK)
        if len(starts) == 1:
            return (words * self._multipliers[: words.size]).sum()
        blocks = self._cupy.empty(len(starts), dtype="uint64")
        for i, start in enumerate(starts):
            blocks[i] = self._of_words(words[start : start + _BLOCK])
        return self._of_words(_words(self._cupy, blocks))


def _words(cupy: Any, array: Array) -> Array:
    """The bits of an array in C order, as unsigned integers of 8, 16 or 32 bits."""
    flat = cupy.ascontiguousarray(array).reshape(-1)
    return flat.view(f"uint{8 * min(array.dtype.itemsize, 4)}")
