"""Indexing and assignment. The gradient of indexing is a scatter-add, so an element that is read twice receives both gradients."""

from __future__ import annotations

import math
import operator
from typing import Any

from tinytorch.array_api.arithmetic import positive
from tinytorch.array_api.bounds import check_bounds, check_indices
from tinytorch.array_api.data_types import as_index, astype
from tinytorch.array_api.joining import _repeat
from tinytorch.array_api.list_indices import list_index, only_list, result_axis, row_numbers
from tinytorch.array_api.manipulation import broadcast_to, flip, reshape
from tinytorch.array_api.segment_sum import segment_sum
from tinytorch.autograd.arguments import ShapeDtype, as_tensors, to_python_numbers
from tinytorch.autograd.operation import Saves, operation
from tinytorch.backend import DType
from tinytorch.backend.host import is_host_operand, is_host_scalar
from tinytorch.tensor import Tensor

__all__ = [
    "getitem",
    "setitem",
    "take",
    "take_along_axis",
]

Key = Any  #: integers, slices, ``None``, ``...``, integer or boolean Tensors or nested lists, or a tuple of these


# ---- along an axis ----


@operation(saves=Saves.OTHERS)
def _take(xp: Any, x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    return xp.take(x, indices, axis=axis)


_take.__name__ = "take"


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The slices of x at ``indices`` along ``axis``.

    Args:
        x: any shape.
        indices: 1-d integers.
        axis: may be omitted if x is 1-d.

    Raises:
        ValueError: ``indices`` is not 1-d, or ``axis`` is missing.
        IndexError: an index is out of bounds.

    Example:
        >>> tt.take(tt.asarray([1.0, 2.0, 3.0]), tt.asarray([2, 0]))
        Tensor([3., 1.], dtype=float32, device='numpy:cpu')
    """
    x, indices = as_tensors("take", x, indices)
    if indices.ndim != 1:
        raise ValueError(f"take: `indices` must be 1-d, got shape {tuple(indices.shape)}; use x[indices]")
    if axis is None and x.ndim != 1:
        raise ValueError(f"take: `axis` is required unless x is 1-d; x has shape {tuple(x.shape)}")
    indices = as_index(indices)
    if not x.backend.capabilities.checks_indices:
        check_indices(x, 0 if axis is None else axis, indices)
    return _take(x, indices, axis=axis)


def _take_rule(xp: Any, g: Any, out: Any, x: Any, indices: Any, axis: int | None = None) -> Any:
    axis = 0 if axis is None else axis % x.ndim
    length = x.shape[axis]
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    rows = xp.reshape(xp.moveaxis(g, axis, 0), (g.shape[axis], math.prod(rest)))
    return xp.moveaxis(xp.reshape(segment_sum(xp, rows, indices, length), (length, *rest)), 0, axis)


@operation(saves=Saves.OTHERS)
def _take_along_axis(xp: Any, x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    return xp.take_along_axis(x, indices, axis=axis)


_take_along_axis.__name__ = "take_along_axis"


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements of x at ``indices`` along ``axis``; x and ``indices`` broadcast along the other axes.

    Raises:
        IndexError: an index is out of bounds.

    Example:
        >>> tt.take_along_axis(tt.asarray([[1, 2], [3, 4]]), tt.asarray([[1], [0]]), axis=1).tolist()
        [[2], [3]]
    """
    x, indices = as_tensors("take_along_axis", x, indices)
    indices = as_index(indices)
    if not x.backend.capabilities.checks_indices:
        check_indices(x, axis, indices)
    return _take_along_axis(x, indices, axis=axis)


def _take_along_axis_rule(xp: Any, g: Any, out: Any, x: Any, indices: Any, axis: int = -1) -> Any:
    positions = xp.take_along_axis(_flat_positions(xp, x.shape), indices, axis=axis)
    return _scatter_add(xp, g, positions, x.shape)


def _repeat_rule(xp: Any, g: Any, out: Any, x: Any, repeats: Any, axis: int | None = None) -> Any:
    """The sum over the copies of each slice: `repeat` is a `take` with repeated indices."""
    length = math.prod(x.shape) if axis is None else x.shape[axis]
    indices = xp.repeat(xp.arange(length), repeats)
    flat = ShapeDtype((length,), x.dtype) if axis is None else x
    return xp.reshape(_take_rule(xp, g, out, flat, indices, axis), x.shape)


# ---- with a key ----


@operation(saves=Saves.OTHERS)
def _getitem(xp: Any, x: Tensor, key: Key, /) -> Tensor:
    return x[key]


_getitem.__name__ = "getitem"


@operation(saves=Saves.OTHERS)
def _getitem_by_plugin(xp: Any, x: Tensor, key: Key, /) -> Tensor:
    """`getitem` for array libraries that do not raise for out-of-bounds indices; the plugin's namespace may define its own ``getitem``."""
    return getattr(xp, "getitem", operator.getitem)(x, key)


_getitem_by_plugin.__name__ = "getitem"


def getitem(x: Tensor, key: Key, /) -> Tensor:
    """``x[key]``.

    Args:
        x: any shape.
        key: integers, slices, ``None``, ``...``, integer or boolean Tensors or NumPy arrays, or a tuple of these. A list of integers or
            booleans, also nested, means the Tensor of its elements.

    Raises:
        IndexError: an index is out of bounds, or a list contains anything but integers or booleans.

    Example:
        >>> tt.getitem(tt.asarray([1.0, 2.0, 3.0]), slice(1, None))
        Tensor([2., 3.], dtype=float32, device='numpy:cpu')
    """
    if type(key) is list:
        rows = row_numbers(x, key)
        if rows is not None:
            return _take_rows(x, rows, 0)
    elif type(key) is tuple:
        place = only_list(key)
        if place is not None:
            rest = getitem(x, (*key[:place], slice(None), *key[place + 1 :]))
            axis = result_axis(x, key, place)
            rows = row_numbers(rest, key[place], axis)
            if rows is not None:
                return _take_rows(rest, rows, axis)
    key, reversed_axes = _normalize_key(x, key)
    read = _getitem if x.backend.capabilities.checks_indices else _getitem_by_plugin
    return flip(read(x, key), axis=reversed_axes) if reversed_axes else read(x, key)


def _normalize_key(x: Tensor, key: Key) -> tuple[Key, tuple[int, ...]]:
    """Replace lists by Tensors, and slices with negative steps, which some array libraries do not support.

    Returns:
        The key with positive steps, and the axes along which the result must be flipped.
    """
    parts = key if type(key) is tuple else (key,)
    arrays = integers = negative_steps = False
    for part in parts:
        kind = type(part)
        if kind is slice:
            negative_steps = negative_steps or (part.step is not None and part.step < 0)
        elif kind is int:
            integers = True
        elif isinstance(part, Tensor):
            arrays = True
        elif kind is list or kind is tuple:
            parts = tuple([list_index(x, p) if type(p) in (list, tuple) else p for p in parts])
            return _normalize_key(x, parts if type(key) is tuple else parts[0])
        elif is_host_scalar(part):
            return _normalize_key(x, to_python_numbers(key))
        elif is_host_operand(part):
            tensors = as_tensors("getitem", x, *parts)[1:]
            return _normalize_key(x, tensors if type(key) is tuple else tensors[0])
    if arrays:
        parts = tuple([as_index(part) for part in parts])
        if integers or not x.backend.capabilities.checks_indices:
            check_bounds(x, parts)
        return (parts if type(key) is tuple else parts[0]), ()
    if integers:
        check_bounds(x, parts)
    return _reverse_slices(x.shape, parts) if negative_steps else (key, ())


def _take_rows(x: Tensor, rows: Any, axis: int) -> Tensor:
    """The elements of x along ``axis`` with these numbers, a host array of any shape."""
    index = x.backend.namespace.asarray(rows.reshape(-1), dtype=x.backend.default_int)
    return reshape(take(x, index, axis=axis), (*x.shape[:axis], *rows.shape, *x.shape[axis + 1 :]))


def _set_rows(x: Tensor, rows: Any, value: Tensor | complex) -> Tensor:
    """`setitem` for the rows with these numbers, a host array. A row that is assigned more than once gets the last value."""
    if not rows.size:
        return positive(x) if x.dtype.kind != "bool" else x[...]
    source, written = [0] * x.shape[0], [False] * x.shape[0]
    for j, i in enumerate(rows.reshape(-1).tolist()):
        source[i], written[i] = j, True
    xp = x.backend.namespace
    if isinstance(value, Tensor):
        values = broadcast_to(astype(value, x.dtype, copy=False), (*rows.shape, *x.shape[1:]))
        value = take(reshape(values, (rows.size, *x.shape[1:])), xp.asarray(source, dtype=x.backend.default_int), axis=0)
    return xp.where(reshape(xp.asarray(written), (-1,) + (1,) * (x.ndim - 1)), value, x)


def _reverse_slices(shape: tuple[int, ...], parts: tuple[Any, ...]) -> tuple[Key, tuple[int, ...]]:
    """The parts of a key with positive steps, and the axes of the result to flip."""
    known = sum(part is not None and part is not ... for part in parts)
    positive_parts: list[Any] = []
    flipped_axes = []
    axis = result_axis = 0  # the current axis of the array and of the result
    for part in parts:
        if type(part) is slice and part.step is not None and part.step < 0:
            selected = range(*part.indices(shape[axis]))
            positive_parts.append(slice(selected[-1], selected[0] + 1, -part.step) if selected else slice(0, 0))
            flipped_axes.append(result_axis)
        else:
            positive_parts.append(part)
        skipped = len(shape) - known if part is ... else part is not None
        axis += skipped
        result_axis += skipped if part is ... else part is None or type(part) is slice
    return tuple(positive_parts), tuple(flipped_axes)


def _getitem_rule(xp: Any, g: Any, out: Any, x: Any, key: Key) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    if _may_repeat(xp, parts):
        if len(parts) == 1:  # whole rows, by indices along the first axis
            rows = xp.reshape(g, (math.prod(parts[0].shape), math.prod(x.shape[1:])))
            return xp.reshape(segment_sum(xp, rows, xp.reshape(parts[0], (-1,)), x.shape[0]), x.shape)
        return _scatter_add(xp, g, _read(xp, _flat_positions(xp, x.shape), key), x.shape)
    zeros = xp.zeros(x.shape, dtype=g.dtype)
    if any(part is None for part in parts):  # the standard allows None in a key for reading only
        key = tuple(part for part in parts if part is not None)
        g = xp.reshape(g, zeros[key].shape)
    return replaced(xp, zeros, key, g)


def _may_repeat(xp: Any, parts: tuple[Any, ...]) -> bool:
    """Whether a key can select an element more than once: it contains an integer array."""
    return any(hasattr(part, "dtype") and xp.isdtype(part.dtype, "integral") for part in parts)


@operation
def _setitem(xp: Any, x: Tensor, key: Key, value: Tensor | complex, /) -> Tensor:
    if not isinstance(value, int | float | complex) and value.dtype != x.dtype:
        value = xp.astype(value, x.dtype)
    return replaced(xp, x, key, value)


_setitem.__name__ = "setitem"


def _setitem_value_rule(xp: Any, g: Any, out: Any, x: Any, key: Key, value: Any) -> Any:
    g = _read(xp, g, key)
    if not _may_repeat(xp, key if isinstance(key, tuple) else (key,)):
        return g
    # if an element is assigned more than once, only the value that remains gets a gradient
    order = xp.reshape(xp.arange(math.prod(g.shape)), g.shape)
    remains = _read(xp, replaced(xp, xp.zeros(x.shape, dtype=order.dtype), key, order), key) == order
    return xp.where(remains, g, xp.zeros_like(g))


_setitem.derivatives(x=lambda xp, g, out, x, key, value: replaced(xp, g, key, 0), value=_setitem_value_rule)


def setitem(x: Tensor, key: Key, value: Tensor | complex, /) -> Tensor:
    """A copy of x with ``value`` at ``key``, as ``x.at[key].set(value)`` in JAX; ``x[key] = value`` makes x refer to this result.

    Raises:
        TypeError: ``value`` is complex and x is real, ``value`` is floating-point and x has integers or booleans, or ``value`` is a list.
        IndexError: an index is out of bounds.

    Example:
        >>> tt.setitem(tt.asarray([1.0, 2.0, 3.0]), 0, 9.0)
        Tensor([9., 2., 3.], dtype=float32, device='numpy:cpu')
    """
    if is_host_scalar(value):
        value = value.item()  # type: ignore[union-attr]
    elif is_host_operand(value):
        _, value = as_tensors("setitem", x, value)
    if isinstance(value, Tensor):
        _check_fits(value.dtype.name, value.dtype.kind, x.dtype)
    elif isinstance(value, float | complex):
        _check_fits(type(value).__name__, "real floating" if isinstance(value, float) else "complex floating", x.dtype)
    elif isinstance(value, list | tuple):
        raise TypeError(f"setitem: `value` must be a Tensor or a number, got a {type(value).__name__}; convert it with tinytorch.asarray")
    rows = row_numbers(x, key) if type(key) is list else None
    if rows is not None:
        return _set_rows(x, rows, value)
    key, reversed_axes = _normalize_key(x, key)
    if reversed_axes and isinstance(value, Tensor):
        value = flip(broadcast_to(value, x[key].shape), axis=reversed_axes)
    return _setitem(x, key, value)


def _check_fits(name: str, kind: str, target: DType) -> None:
    """Raise ``TypeError`` if conversion to ``target`` would drop the imaginary or fractional part, and with it a gradient."""
    if (kind == "complex floating" and target.kind != kind) or (kind == "real floating" and not target.is_floating):
        raise TypeError(f"setitem: cannot assign {name} values to a Tensor of {target.name}; convert one of them with tinytorch.astype")


def replaced(xp: Any, x: Any, key: Key, value: Any) -> Any:
    """A copy of x, a raw array or a Tensor, with ``value`` at ``key``."""
    if isinstance(x, Tensor):
        return setitem(x, key, value)
    from array_api_extra import at  # imported on first use: it also imports array_api_compat

    return at(x, key).set(value, copy=True, xp=xp)


def _read(xp: Any, x: Any, key: Key) -> Any:
    """``x[key]`` of a raw array or a Tensor."""
    return x[key] if isinstance(x, Tensor) else _getitem_by_plugin.forward(xp, x, key)


# ---- scatter-add ----


def _flat_positions(xp: Any, shape: tuple[int, ...]) -> Any:
    """An array of ``shape`` that contains the position of each element in the flattened array."""
    return xp.reshape(xp.arange(math.prod(shape)), shape)


def _scatter_add(xp: Any, g: Any, positions: Any, shape: tuple[int, ...]) -> Any:
    """``g`` added to zeros of ``shape`` at the flat ``positions``, an array with the shape of g."""
    return xp.reshape(segment_sum(xp, xp.reshape(g, (-1, 1)), xp.reshape(positions, (-1,)), math.prod(shape)), shape)


_take.derivatives(x=_take_rule)
_repeat.derivatives(x=_repeat_rule)
_take_along_axis.derivatives(x=_take_along_axis_rule)
_getitem.derivatives(x=_getitem_rule)
_getitem_by_plugin.derivatives(x=_getitem_rule)
