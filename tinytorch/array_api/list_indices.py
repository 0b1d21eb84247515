"""Lists as indices: ``x[[0, 2]]``, as in numpy and PyTorch. The standard has none."""

from __future__ import annotations

from typing import Any

from tinytorch.array_api.bounds import check_bounds
from tinytorch.array_api.data_types import astype
from tinytorch.autograd.arguments import to_python_numbers
from tinytorch.backend.host import as_host_array
from tinytorch.tensor import Tensor


def only_list(key: tuple[Any, ...]) -> int | None:
    """The place of a list in a key, if its other parts are slices, ``None`` and ``...``."""
    place = None
    for i, part in enumerate(key):
        if type(part) is list and place is None:
            place = i
        elif part is not None and part is not ... and type(part) is not slice:
            return None
    return place


def result_axis(x: Tensor, key: tuple[Any, ...], place: int) -> int:
    """The axis of ``x[key]`` that belongs to a part of the key, whose parts keep or add axes."""
    known = sum(part is not None and part is not ... for part in key)
    return sum(len(x.shape) - known if part is ... else 1 for part in key[:place])


def row_numbers(x: Tensor, items: list[Any], axis: int = 0) -> Any:
    """The nonnegative integers of a list, as an index of an axis of x, in a host array.

    ``None`` for a list of booleans or Tensors, or a 0-d x. Rows are read with `take` and written with `where`, since some array libraries
    accept arrays as indices for all axes only, or only in reading.
    """
    if not x.shape or _contains_tensor(items):
        return None
    try:
        rows = as_host_array(items)
    except TypeError as error:
        raise IndexError(f"a list as an index must contain integers or booleans: {error}") from None
    if rows.dtype.kind not in "iu" and rows.size:
        return None
    before = (slice(None),) * axis
    if rows.size:
        check_bounds(x, (*before, int(rows.min())))
        check_bounds(x, (*before, int(rows.max())))
    return rows.astype("int64") % max(x.shape[axis], 1)


def _contains_tensor(items: Any) -> bool:
    return isinstance(items, Tensor) or (isinstance(items, list | tuple) and any(map(_contains_tensor, items)))


def list_index(x: Tensor, items: list[Any] | tuple[Any, ...]) -> Tensor:
    """The integer or boolean Tensor of a list that is used as an index of x."""
    try:
        index: Tensor = x.backend.namespace.asarray(to_python_numbers(items))
    except TypeError as error:
        raise IndexError(f"a list as an index must contain integers or booleans: {error}") from None
    if 0 in index.shape:  # an empty list selects nothing
        return astype(index, x.backend.default_int)
    if index.dtype.kind not in ("bool", "signed integer", "unsigned integer"):
        raise IndexError(f"a list as an index must contain integers or booleans, got {index.dtype.name}")
    return index
