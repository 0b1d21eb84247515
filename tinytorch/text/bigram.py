"""The bigram baseline: what the character before tells of the next one. A host module, in numpy."""

from __future__ import annotations

import math

import numpy
from numpy.typing import NDArray

from tinytorch.errors import InputError

#: How many observations the unigrams count for beside a character's own followers.
_WEIGHT = 5.0


def bigram_bits(text: str) -> float:
    """Bits per character of a model that knows pairs of characters, and learns them from the text as it goes along.

    Every character but the first is predicted from those before it: from the counts of what followed the last one so far, mixed with the
    counts of single characters (MacKay and Peto 1995, "A hierarchical Dirichlet language model", section 3), which begin at 1 each. It has
    seen no text before and never looks ahead, so it is the same yardstick for every model, whatever its tokens.

    Raises:
        InputError: there are fewer than two characters.
    """
    if len(text) < 2:
        raise InputError("there is nothing to predict in a text of fewer than two characters: give more text")
    points = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    alphabet, symbols = numpy.unique(points, return_inverse=True)
    symbols = symbols.reshape(-1).astype(numpy.int64)
    before, after = symbols[:-1], symbols[1:]
    seen = numpy.arange(1, len(symbols))
    single = (_seen_before(symbols)[1:] + 1) / (seen + len(alphabet))
    pairs = _seen_before(before * len(alphabet) + after)
    chance = (pairs + _WEIGHT * single) / (_seen_before(before) + _WEIGHT)
    return float(-numpy.log(chance).mean() / math.log(2))


def _seen_before(values: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    """For each of the values, how many equal ones stand before it."""
    order = numpy.argsort(values, kind="stable")
    ordered = values[order]
    places = numpy.arange(len(values))
    first = numpy.concatenate([[True], ordered[1:] != ordered[:-1]])
    counts = numpy.empty_like(places)
    counts[order] = places - numpy.maximum.accumulate(numpy.where(first, places, 0))
    return counts
