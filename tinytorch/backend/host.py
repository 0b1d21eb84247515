"""Checks and conversions of host arrays (NumPy arrays and scalars, Python numbers).

A host module: it imports numpy. Code for arrays on any backend calls these functions instead.
"""

from __future__ import annotations

import array
from collections.abc import Collection
from typing import Any

import numpy

#: The array types that are input data for Tensors. Subclasses such as masked arrays are not: Tensors have no mask.
HOST_ARRAYS = (numpy.ndarray, numpy.memmap)

#: The integer dtype with half the size.
_NARROW = {"int64": "int32", "uint64": "uint32"}


def is_host_array(value: object) -> bool:
    """Whether ``value`` is a NumPy array."""
    return isinstance(value, numpy.ndarray)


def is_host_operand(value: object) -> bool:
    """Whether ``value`` is a NumPy array that may stand beside Tensors: of one of the `HOST_ARRAYS`, exactly."""
    return type(value) in HOST_ARRAYS


def contains_host_array(value: object) -> bool:
    """Whether ``value`` is such an array, or a list or tuple that contains one."""
    return type(value) in HOST_ARRAYS or (isinstance(value, list | tuple) and any(map(contains_host_array, value)))


def copied_dtype(array: numpy.ndarray, supported: Collection[str]) -> str:
    """The dtype in which a host array is copied to a library with the ``supported`` dtypes: its own.

    A library without 64-bit integers gets 32 bits if they hold all values.
    """
    name: str = array.dtype.name
    narrow = _NARROW.get(name)
    if narrow is None or name in supported or narrow not in supported:
        return name
    limits = numpy.iinfo(narrow)
    return narrow if not array.size or (array.min() >= limits.min and array.max() <= limits.max) else name


def is_host_scalar(value: object) -> bool:
    """Whether ``value`` is a NumPy scalar (``numpy.float64(2)``), which has a dtype, unlike a Python number."""
    return isinstance(value, numpy.generic)


def has_own_dtype(value: Any) -> bool:
    """Whether ``value`` determines a dtype: any array, a NumPy scalar, or a nested list that contains one of these.

    Python numbers do not; they get a default dtype of tinytorch.
    """
    if not isinstance(value, list | tuple):
        return _is_typed(type(value))
    types = set(map(type, value))  # far fewer types than elements
    return any(map(_is_typed, types)) or (any(issubclass(t, list | tuple) for t in types) and any(map(has_own_dtype, value)))


def _is_typed(t: type) -> bool:
    return hasattr(t, "__array__") or issubclass(t, array.array | memoryview)


def as_host_array(value: Any) -> numpy.ndarray:
    """Convert a number, nested sequences of numbers or a host array to a host array; raises ``TypeError`` for anything else."""
    if isinstance(value, numpy.ndarray | numpy.generic):
        return numpy.asarray(value)
    try:
        read = numpy.array(value)
    except ValueError as error:
        raise TypeError(f"expected numbers in nested lists of equal length, got {type(value).__name__}: {error}") from None
    if read.dtype.kind not in "biufc":
        kind = type(value).__name__
        raise TypeError(f"expected numbers or nested lists of numbers, got {kind}, which numpy converts to dtype {read.dtype}")
    return read


def read_array(value: Any) -> numpy.ndarray:
    """Convert an array of any library to a host array. A ``torch.Tensor`` may be on a GPU, require a gradient, or have dtype bfloat16.

    bfloat16, which NumPy lacks, becomes float32.
    """
    if hasattr(value, "detach"):  # a torch.Tensor; arrays of other libraries convert themselves
        value = value.detach().cpu()
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):
        value = value.float() if hasattr(value, "float") else value.astype(numpy.float32)
    return as_host_array(value.__array__())
