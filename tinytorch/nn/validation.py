"""Checks of layers' arguments and of the ids that they look up."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api import astype
from tinytorch.backend.device import Device
from tinytorch.tensor import Tensor, wrap


def checked_sizes(layer: str, **sizes: int) -> None:
    """Raise ``ValueError`` naming the first of ``sizes`` that is not 1 or more."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{layer} needs {name} of 1 or more, got {size}")


def checked_share(p: float) -> float:
    """``p``, a share of 0 up to but not including 1; raises ``ValueError`` otherwise."""
    if not 0.0 <= p < 1.0:
        raise ValueError(f"dropout must be at least 0 and less than 1, got {p}")
    return float(p)


def checked_ids(array: Any, size: int, device: Device) -> Tensor:
    """Ids on ``device``, checked on the host: ``TypeError`` unless whole numbers, ``ValueError`` unless 0 <= id < size."""
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be whole numbers, got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= size):
        raise ValueError(f"ids must lie between 0 and {size - 1}, got {array[(array < 0) | (array >= size)][0]}")
    return wrap(device.backend.from_host(array, device.backend.default_int), device.backend)


def as_index(ids: Tensor) -> Tensor:
    """Whole numbers in a signed type of 32 bits or more, which can be compared with any size; ``TypeError`` for other numbers."""
    if ids.dtype.kind not in ("signed integer", "unsigned integer"):
        raise TypeError(f"expected whole numbers to look up, got {ids.dtype.name}; convert with tinytorch.astype(x, 'int64')")
    return ids if ids.dtype.name in ("int32", "int64") else astype(ids, ids.backend.default_int)
