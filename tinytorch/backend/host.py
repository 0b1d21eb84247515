"""What tinytorch asks about host arrays. A host module: the only place besides files, text and draws where numpy is imported."""

from __future__ import annotations

import array
from typing import Any

import numpy


def is_host_array(value: object) -> bool:
    """Whether ``value`` is a numpy array."""
    return isinstance(value, numpy.ndarray)


def is_host_scalar(value: object) -> bool:
    """Whether ``value`` is a number that numpy wraps (``numpy.float64(2)``), which promotes unlike a Python number."""
    return isinstance(value, numpy.generic)


def has_own_width(value: Any) -> bool:
    """Whether ``value`` says how wide its numbers are: an array of any kind, a scalar of numpy, or a nested list with one of these in it.

    Python's numbers do not; their width is the framework's choice.
    """
    if not isinstance(value, list | tuple):
        return _is_typed(type(value))
    kinds = set(map(type, value))  # few, where elements are many
    return any(map(_is_typed, kinds)) or (any(issubclass(kind, list | tuple) for kind in kinds) and any(map(has_own_width, value)))


def _is_typed(kind: type) -> bool:
    return hasattr(kind, "__array__") or issubclass(kind, array.array | memoryview)


def as_host_array(value: Any) -> numpy.ndarray:
    """``value`` (a number, nested sequences of them, or a host array) as a host array; raises ``TypeError`` where it is none of these."""
    if isinstance(value, numpy.ndarray | numpy.generic):
        return numpy.asarray(value)
    try:
        read = numpy.array(value)
    except ValueError as error:
        raise TypeError(f"expected numbers in nested lists of equal length, got {type(value).__name__}: {error}") from None
    if read.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers or nested lists of numbers, got {type(value).__name__} that numpy reads as {read.dtype}")
    return read
