"""Checks of layer arguments and of token ids."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api import astype
from tinytorch.backend.device import Device
from tinytorch.backend.host import as_host_array
from tinytorch.tensor import Tensor, wrap


def check_positive(layer: str, **sizes: int) -> None:
    """Raise ``ValueError`` if one of ``sizes`` is less than 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{layer}: {name} must be at least 1, got {size}")


def check_floating(layer: str, x: Tensor) -> None:
    """Raise ``TypeError`` unless x is floating-point."""
    if not x.dtype.is_floating:
        raise TypeError(f"{layer} expects a floating-point dtype, got {x.dtype.name}; convert with tinytorch.astype(x, 'float32')")


def check_probability(p: float, upper: str = "less than 1") -> float:
    """Return a dropout probability as a float; raises ``ValueError`` unless 0 <= p < 1. ``upper`` names the upper bound in the error."""
    if not 0.0 <= p < 1.0:
        raise ValueError(f"dropout must be at least 0 and {upper}, got {p}")
    return float(p)


def ids_from_host(array: Any, size: int, device: Device) -> Tensor:
    """Check a numpy array of ids, a nested list or one id, and copy it to ``device``.

    Raises:
        TypeError: the ids are not integers.
        ValueError: an id is out of bounds, that is not 0 <= id < size.
    """
    array = as_host_array(array)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= size):
        raise ValueError(f"ids must be between 0 and {size - 1}, got {array[(array < 0) | (array >= size)][0]}")
    return wrap(device.backend.from_host(array, device.backend.default_int), device.backend)


def check_token_ids(ids: Tensor, max_length: int) -> int:
    """Return T of token ids (B, T); raises ``ValueError`` unless they are 2-d and 1 <= T <= max_length."""
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"token ids must have shape (B, T) with T at least 1, got {tuple(ids.shape)}")
    length = ids.shape[1]
    if length > max_length:
        raise ValueError(f"the model's max_length is {max_length} tokens, got {length}; crop the input")
    return length


def as_index(ids: Tensor) -> Tensor:
    """Convert narrow integers to the default integer dtype, so that they can hold any size; raises ``TypeError`` for another dtype."""
    if ids.dtype.kind not in ("signed integer", "unsigned integer"):
        raise TypeError(f"ids and targets must be integers, got {ids.dtype.name}; convert with tinytorch.astype(x, 'int64')")
    return ids if ids.dtype.name in ("int32", "int64") else astype(ids, ids.backend.default_int)
