"""What tinytorch asks about host arrays. A host module: the only place besides files, text and draws where numpy is imported."""

from __future__ import annotations

from typing import Any

import numpy


def is_host_array(value: object) -> bool:
    """Whether ``value`` is a numpy array."""
    return isinstance(value, numpy.ndarray)


def is_host_scalar(value: object) -> bool:
    """Whether ``value`` is a number that numpy wraps (``numpy.float64(2)``), which promotes unlike a Python number."""
    return isinstance(value, numpy.generic)


def as_host_array(value: Any) -> numpy.ndarray:
    """``value`` (a number, nested sequences of them, or a host array) as a host array; raises ``TypeError`` where it is none of these."""
    if isinstance(value, numpy.ndarray | numpy.generic):
        return numpy.asarray(value)
    try:
        array = numpy.array(value)
    except ValueError as error:
        raise TypeError(f"expected numbers in nested lists of equal length, got {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers or nested lists of numbers, got {type(value).__name__} that numpy reads as {array.dtype}")
    return array
