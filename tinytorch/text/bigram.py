"""The bigram baseline: predicts each character from the one before it. Runs on the CPU, in numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy
from numpy.typing import NDArray

from tinytorch.io.errors import InputError

#: Weight of the unigram distribution, in pseudocounts, when it is mixed with the bigram counts.
_WEIGHT = 5.0
#: Number of characters that are processed together.
_AT_ONCE = 2**16


class Bigrams:
    """An adaptive bigram model of characters, which predicts a text and learns from it at the same time.

    Every character but the first is predicted from the counts of the characters that followed the previous character so far, mixed with the
    counts of single characters (MacKay and Peto 1995, "A hierarchical Dirichlet language model", section 3), which start at 1 each. The
    model starts untrained and never uses later characters, so it is the same baseline for every language model, whatever its tokenizer.

    Args:
        alphabet: the distinct characters of the text.
    """

    def __init__(self, alphabet: Iterable[str]) -> None:
        self._alphabet = numpy.asarray(sorted(map(ord, set(alphabet))), dtype=numpy.uint32)
        self._single = numpy.zeros(len(self._alphabet), dtype=numpy.int64)
        self._followed = numpy.zeros(len(self._alphabet), dtype=numpy.int64)
        self._pairs: dict[int, int] = {}
        self._last = numpy.zeros(0, dtype=numpy.int64)  # the last symbol of the text so far
        self._seen = 0
        self._nats = 0.0

    def add(self, text: str) -> None:
        """Predict the next part of the text, then learn from it."""
        for start in range(0, len(text), _AT_ONCE):
            points = numpy.frombuffer(text[start : start + _AT_ONCE].encode("utf-32-le", "surrogatepass"), dtype="<u4")
            self._add(numpy.searchsorted(self._alphabet, points))

    def _add(self, symbols: NDArray[numpy.int64]) -> None:
        kinds = len(self._alphabet)
        row = numpy.concatenate([self._last, symbols])
        before, after = row[:-1], row[1:]
        new = len(symbols) - len(after)  # 1 for the first character of the text, which has no previous one and is not predicted
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
        """Bits per character of the predictions so far. Raises `InputError` for a text of fewer than two characters."""
        if self._seen < 2:
            raise InputError("the bigram baseline needs a text of at least two characters: pass more text")
        return max(0.0, self._nats / math.log(2) / (self._seen - 1))


def bigram_bits(text: str) -> float:
    """Compute the bits per character of the bigram baseline on a text.

    Args:
        text: the text. `Bigrams` accepts it in parts.

    Returns:
        The cross-entropy of all characters but the first, in bits per character.

    Raises:
        InputError: the text has fewer than two characters.

    Example:
        >>> from tinytorch.text import bigram_bits
        >>> bigram_bits("ab" * 5000) < 0.01
        True
    """
    baseline = Bigrams(text)
    baseline.add(text)
    return baseline.bits


def _equal_before(values: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """For each value, the number of equal values before it."""
    order = numpy.argsort(values, kind="stable")
    ordered = values[order]
    places = numpy.arange(len(values))
    first = numpy.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(values)]
    counts = numpy.empty_like(places)
    counts[order] = places - numpy.maximum.accumulate(numpy.where(first, places, 0))
    return counts
