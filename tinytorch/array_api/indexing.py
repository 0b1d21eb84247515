"""Reading and replacing elements. A derivative of reading is adding at the same places, also where a place is read more than once."""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import Any

from tinytorch.array_api.data_types import as_index
from tinytorch.array_api.manipulation import _repeat, broadcast_to, flip
from tinytorch.array_api.precision import in_32_bits
from tinytorch.autograd.arguments import ShapeDtype, to_python_numbers
from tinytorch.autograd.operation import Saves, operation
from tinytorch.backend import DType
from tinytorch.backend.host import is_host_scalar
from tinytorch.tensor import Tensor

__all__ = [
    "getitem",
    "setitem",
    "take",
    "take_along_axis",
]

Key = Any  #: integers, slices, ``None``, ``...``, integer or boolean Tensors, or a tuple of these


# ---- along an axis ----


@operation(saves=Saves.OTHERS)
def _take(xp: Any, x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    return xp.take(x, indices, axis=axis)


_take.__name__ = "take"


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The slices of x at ``indices`` (one dimension, whole numbers) along ``axis``, which may be left out where x has one dimension.

    Raises ``ValueError`` for other indices, and for an axis that is missing.
    """
    if indices.ndim != 1:
        raise ValueError(f"take: indices have one dimension, got shape {tuple(indices.shape)}; use x[indices]")
    if axis is None and x.ndim != 1:
        raise ValueError(f"take: say along which axis, since x has shape {tuple(x.shape)}")
    indices = as_index(indices)
    if not x.backend.capabilities.checks_indices:
        _check_indices(x, 0 if axis is None else axis, indices)
    return _take(x, indices, axis=axis)


def _take_rule(xp: Any, g: Any, out: Any, x: Any, indices: Any, axis: int | None = None) -> Any:
    axis = 0 if axis is None else axis % x.ndim
    length = x.shape[axis]
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    rows = xp.reshape(xp.moveaxis(g, axis, 0), (g.shape[axis], math.prod(rest)))
    return xp.moveaxis(xp.reshape(rows_added(xp, rows, indices, length), (length, *rest)), 0, axis)


@operation(saves=Saves.OTHERS)
def _take_along_axis(xp: Any, x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    return xp.take_along_axis(x, indices, axis=axis)


_take_along_axis.__name__ = "take_along_axis"


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """For each position along the other dimensions, the elements of x at ``indices`` along ``axis``."""
    indices = as_index(indices)
    if not x.backend.capabilities.checks_indices:
        _check_indices(x, axis, indices)
    return _take_along_axis(x, indices, axis=axis)


def _take_along_axis_rule(xp: Any, g: Any, out: Any, x: Any, indices: Any, axis: int = -1) -> Any:
    places = xp.take_along_axis(_places(xp, x.shape), indices, axis=axis)
    return _added_at(xp, g, places, x.shape)


def _repeat_rule(xp: Any, g: Any, out: Any, x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Sum what each slice was repeated to: a repetition is a `take` whose indices repeat."""
    length = math.prod(x.shape) if axis is None else x.shape[axis]
    indices = xp.repeat(xp.arange(length), repeats)
    flat = ShapeDtype((length,), x.dtype) if axis is None else x
    return xp.reshape(_take_rule(xp, g, out, flat, indices, axis), x.shape)


# ---- by a key ----


@operation(saves=Saves.OTHERS)
def _getitem(xp: Any, x: Tensor, key: Key, /) -> Tensor:
    return x[key]


_getitem.__name__ = "getitem"


@operation(saves=Saves.OTHERS)
def _getitem_by_plugin(xp: Any, x: Tensor, key: Key, /) -> Tensor:
    """`getitem` for array libraries that do not raise for indices that are out of bounds: their plugin's namespace has one of its own."""
    return getattr(xp, "getitem", operator.getitem)(x, key)


_getitem_by_plugin.__name__ = "getitem"


def getitem(x: Tensor, key: Key, /) -> Tensor:
    """``x[key]``. Raises ``IndexError`` for an index that is out of bounds, and for a list, which is no index in the standard."""
    key, reversed_axes = _checked(x, key)
    read = _getitem if x.backend.capabilities.checks_indices else _getitem_by_plugin
    return flip(read(x, key), axis=reversed_axes) if reversed_axes else read(x, key)


def _checked(x: Tensor, key: Key) -> tuple[Key, tuple[int, ...]]:
    """``key`` with steps backwards turned round, as not every array library takes them, and the axes of the result to reverse after it."""
    parts = key if type(key) is tuple else (key,)
    arrays = numbers = backwards = False
    for part in parts:
        kind = type(part)
        if kind is slice:
            backwards = backwards or (part.step is not None and part.step < 0)
        elif kind is int:
            numbers = True
        elif isinstance(part, Tensor):
            arrays = True
        elif kind is list:
            raise IndexError("a list is not an index in the standard; make it one with tinytorch.asarray([...])")
        elif is_host_scalar(part):
            return _checked(x, to_python_numbers(key))
    if arrays:
        parts = tuple([as_index(part) for part in parts])
        if numbers or not x.backend.capabilities.checks_indices:
            _check_places(x, parts)
        return (parts if type(key) is tuple else parts[0]), ()
    if numbers:
        _check_places(x, parts)
    return _turned(x.shape, parts) if backwards else (key, ())


def _check_places(x: Tensor, parts: tuple[Any, ...]) -> None:
    """Raise ``IndexError`` for an index that is out of bounds, where JAX would read the last element."""
    shape, axis = x.shape, 0
    for part in parts:
        if part is ...:
            axis += len(shape) - sum(_axes_taken(other) for other in parts if other is not ...)
            continue
        if type(part) is int:
            if axis < len(shape) and not -shape[axis] <= part < shape[axis]:
                raise _out_of_bounds(x, axis, part)
            axis += 1
            continue
        if isinstance(part, Tensor) and axis < len(shape) and not _is_mask(part):
            _check_indices(x, axis, part)
        axis += _axes_taken(part)


def _axes_taken(part: Any) -> int:
    """How many axes of the array a part of a key, other than ``...``, stands for."""
    if part is None or type(part) is bool:
        return 0
    return part.ndim if _is_mask(part) else 1


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype.kind == "bool"


def _check_indices(x: Tensor, axis: int, indices: Tensor) -> None:
    """Raise ``IndexError`` for an index that is out of bounds, where the array library would not."""
    wrong = x.backend.out_of_bounds(indices.raw, x.shape[axis])
    if wrong is not None:
        raise _out_of_bounds(x, axis % x.ndim, wrong)


def _out_of_bounds(x: Tensor, axis: int, index: int) -> IndexError:
    return IndexError(f"index {index} is out of bounds for axis {axis} of shape {tuple(x.shape)}")


def _turned(shape: tuple[int, ...], parts: tuple[Any, ...]) -> tuple[Key, tuple[int, ...]]:
    known = sum(part is not None and part is not ... for part in parts)
    turned: list[Any] = []
    axes = []
    place = result = 0  # where we are among the dimensions of the array, and of the result
    for part in parts:
        if type(part) is slice and part.step is not None and part.step < 0:
            places = range(*part.indices(shape[place]))
            turned.append(slice(places[-1], places[0] + 1, -part.step) if places else slice(0, 0))
            axes.append(result)
        else:
            turned.append(part)
        skipped = len(shape) - known if part is ... else part is not None
        place += skipped
        result += skipped if part is ... else part is None or type(part) is slice
    return tuple(turned), tuple(axes)


def _getitem_rule(xp: Any, g: Any, out: Any, x: Any, key: Key) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    if _may_repeat(xp, parts):
        if len(parts) == 1:  # whole rows, at places along the first axis
            rows = xp.reshape(g, (math.prod(parts[0].shape), math.prod(x.shape[1:])))
            return xp.reshape(rows_added(xp, rows, xp.reshape(parts[0], (-1,)), x.shape[0]), x.shape)
        return _added_at(xp, g, _read(xp, _places(xp, x.shape), key), x.shape)
    zeros = xp.zeros(x.shape, dtype=g.dtype)
    if any(part is None for part in parts):  # in the standard, new dimensions can be read but not written
        key = tuple(part for part in parts if part is not None)
        g = xp.reshape(g, zeros[key].shape)
    return replaced(xp, zeros, key, g)


def _may_repeat(xp: Any, parts: tuple[Any, ...]) -> bool:
    """Whether a key can name a place twice: one with an array of whole numbers."""
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
    turn = xp.reshape(xp.arange(math.prod(g.shape)), g.shape)  # of two values for one place one stays, and counts
    stays = _read(xp, replaced(xp, xp.zeros(x.shape, dtype=turn.dtype), key, turn), key) == turn
    return xp.where(stays, g, xp.zeros_like(g))


_setitem.derivatives(x=lambda xp, g, out, x, key, value: replaced(xp, g, key, 0), value=_setitem_value_rule)


def setitem(x: Tensor, key: Key, value: Tensor | complex, /) -> Tensor:
    """A copy of x with ``value`` at ``x[key]``; ``x[key] = value`` gives x this value.

    Raises ``TypeError`` for complex values in a real Tensor, and for fractions in one of whole numbers.
    """
    if is_host_scalar(value):
        value = value.item()  # type: ignore[union-attr]
    if isinstance(value, Tensor):
        _check_fits(value.dtype.name, value.dtype.kind, x.dtype)
    elif isinstance(value, float | complex):
        _check_fits(type(value).__name__, "real floating" if isinstance(value, float) else "complex floating", x.dtype)
    elif isinstance(value, list | tuple):
        raise TypeError(f"setitem takes a Tensor or a number, got a {type(value).__name__}; make it one with tinytorch.asarray")
    key, reversed_axes = _checked(x, key)
    if reversed_axes and isinstance(value, Tensor):
        value = flip(broadcast_to(value, x[key].shape), axis=reversed_axes)
    return _setitem(x, key, value)


def _check_fits(name: str, kind: str, target: DType) -> None:
    """Raise ``TypeError`` for numbers with parts that ``target`` cannot hold, through which values and gradients would be lost."""
    if (kind == "complex floating" and target.kind != kind) or (kind == "real floating" and not target.is_floating):
        raise TypeError(f"setitem: {name} values do not fit into {target.name}; convert them, or x, with tinytorch.astype")


def replaced(xp: Any, x: Any, key: Key, value: Any) -> Any:
    """A copy of x, a raw array or a Tensor, with other values at ``key``."""
    if isinstance(x, Tensor):
        return setitem(x, key, value)
    from array_api_extra import at  # loaded on first use: it brings array_api_compat with it

    return at(x, key).set(value, copy=True, xp=xp)


def _read(xp: Any, x: Any, key: Key) -> Any:
    """``x[key]`` of a raw array or a Tensor."""
    return x[key] if isinstance(x, Tensor) else _getitem_by_plugin.forward(xp, x, key)


# ---- adding up ----


def _places(xp: Any, shape: tuple[int, ...]) -> Any:
    """An array of ``shape`` that holds each element's position in the flattened array."""
    return xp.reshape(xp.arange(math.prod(shape)), shape)


def _added_at(xp: Any, g: Any, places: Any, shape: tuple[int, ...]) -> Any:
    """``g`` summed into an array of ``shape`` at flattened positions, of the same shape as g."""
    return xp.reshape(rows_added(xp, xp.reshape(g, (-1, 1)), xp.reshape(places, (-1,)), math.prod(shape)), shape)


def rows_added(xp: Any, rows: Any, indices: Any, length: int) -> Any:
    """The sum of the (N, D) ``rows``, raw arrays or Tensors, that belong to each of ``length`` indices: (length, D)."""
    return _add_rows(rows, indices, length) if isinstance(rows, Tensor) else _add_rows.forward(xp, rows, indices, length)


@operation(saves=Saves.OTHERS)
def _add_rows(xp: Any, rows: Tensor, indices: Tensor, length: int, /) -> Tensor:
    """The sum of the (N, D) ``rows`` that belong to each of ``length`` indices: (length, D).

    A plugin's namespace may have an ``add_rows`` of its own, as array libraries have what the standard lacks.
    """
    if rows.shape[0] == 0:
        return xp.zeros((length, *rows.shape[1:]), dtype=rows.dtype)
    indices = xp.where(indices < 0, indices + length, indices)
    add = getattr(xp, "add_rows", partial(_rows_doubled, xp))
    return in_32_bits(xp, lambda rows: add(rows, indices, length), rows)


_add_rows.derivatives(rows=lambda xp, g, out, rows, indices, length: xp.take(g, indices, axis=0))


def _rows_doubled(xp: Any, rows: Any, indices: Any, length: int) -> Any:
    """`_add_rows` by the standard's means: rows in the order of their index, added up within each by doubling.

    Blelloch 1990, *Prefix Sums*, section 1.5. A one-hot matrix or differences of a running sum would be quicker, but spread a row that is
    not finite, or its rounding, over all the others.
    """
    count = rows.shape[0]
    order = xp.argsort(indices, stable=True)
    ordered, sums = xp.take(indices, order, axis=0), xp.take(rows, order, axis=0)
    reach = 1
    while reach < count:  # sums[i] is that of up to ``reach`` rows from i on, all of one index
        alike = (ordered[reach:] == ordered[:-reach])[:, None]
        later = sums[reach:, ...]
        sums = xp.concat([sums[:-reach, ...] + xp.where(alike, later, xp.zeros_like(later)), sums[-reach:, ...]], axis=0)
        reach *= 2
    places = xp.arange(length, dtype=indices.dtype)
    first = xp.clip(xp.searchsorted(ordered, places, side="left"), 0, count - 1)
    found = xp.take(sums, first, axis=0)
    return xp.where((xp.take(ordered, first, axis=0) == places)[:, None], found, xp.zeros_like(found))


_take.derivatives(x=_take_rule)
_repeat.derivatives(x=_repeat_rule)
_take_along_axis.derivatives(x=_take_along_axis_rule)
_getitem.derivatives(x=_getitem_rule)
_getitem_by_plugin.derivatives(x=_getitem_rule)
