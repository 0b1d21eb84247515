"""The bigram baseline: what the character before tells of the next one. A host module, in numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError

#: How many observations the unigrams count for beside a character's own followers.
_WEIGHT = 5.0
#: Characters that are looked at together.
_AT_ONCE = 2**16


class Bigrams:
    """A model that knows pairs of characters, and learns them from a text as it goes along.

    Every character but the first is predicted from those before it: from the counts of what followed the last one so far, mixed with the
    counts of single characters (MacKay and Peto 1995, "A hierarchical Dirichlet language model", section 3), which begin at 1 each. It has
    seen no text before and never looks ahead, so it is the same yardstick for every model, whatever its tokens. It remembers counts alone.

    Args:
        alphabet: the characters of the text.
    """

    def __init__(self, alphabet: Iterable[str]) -> None:
        self._alphabet = numpy.asarray(sorted(map(ord, set(alphabet))), dtype=numpy.uint32)
        self._single = numpy.zeros(len(self._alphabet), dtype=numpy.int64)
        self._followed = numpy.zeros(len(self._alphabet), dtype=numpy.int64)
        self._pairs: dict[int, int] = {}
        self._last = numpy.zeros(0, dtype=numpy.int64)  # the symbol that the next text follows
        self._seen = 0
        self._nats = 0.0

    def add(self, text: str) -> None:
        """Predict, then learn, what follows the text that was added before."""
        for start in range(0, len(text), _AT_ONCE):
            points = numpy.frombuffer(text[start : start + _AT_ONCE].encode("utf-32-le", "surrogatepass"), dtype="<u4")
            self._add(numpy.searchsorted(self._alphabet, points))

    def _add(self, symbols: NDArray[numpy.int64]) -> None:
        kinds = len(self._alphabet)
        row = numpy.concatenate([self._last, symbols])
        before, after = row[:-1], row[1:]
        new = len(symbols) - len(after)  # the very first character is predicted from nothing, and does not count
        seen = self._seen + numpy.arange(new, len(symbols))
        single = ((self._single[symbols] + _equal_before(symbols))[new:] + 1) / (seen + kinds)
        keys, places = numpy.unique(before * kinds + after, return_inverse=True)
        known = numpy.asarray([self._pairs.get(key, 0) for key in keys.tolist()], dtype=numpy.int64)
        pairs = known[places] + _equal_before(places)
        chance = (pairs + _WEIGHT * single) / (self._followed[before] + _equal_before(before) + _WEIGHT)
        self._nats -= float(numpy.log(chance).sum())
        self._pairs.update(zip(keys.tolist(), (known + numpy.bincount(places, minlength=len(keys))).tolist(), strict=True))
        self._followed += numpy.bincount(before, minlength=kinds)
        self._single += numpy.bincount(symbols, minlength=kinds)
        self._seen += len(symbols)
        self._last = symbols[-1:]

    @property
    def bits(self) -> float:
        """Bits per character of what was predicted. Raises `InputError` where there were fewer than two characters."""
        if self._seen < 2:
            raise InputError("there is nothing to predict in a text of fewer than two characters: give more text")
        return max(0.0, self._nats / math.log(2) / (self._seen - 1))


def bigram_bits(text: str) -> float:
    """Bits per character of `Bigrams` on a text. Raises `InputError` where it has fewer than two characters."""
    baseline = Bigrams(text)
    baseline.add(text)
    return baseline.bits


def _equal_before(values: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """For each of the values, how many equal ones stand before it."""
    order = numpy.argsort(values, kind="stable")
    ordered = values[order]
    places = numpy.arange(len(values))
    first = numpy.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(values)]
    counts = numpy.empty_like(places)
    counts[order] = places - numpy.maximum.accumulate(numpy.where(first, places, 0))
    return counts
