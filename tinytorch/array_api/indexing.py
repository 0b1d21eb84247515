"""Reading and replacing elements. A derivative of reading is adding at the same places, also where a place is read more than once."""

from __future__ import annotations

import math
from typing import Any

from tinytorch.array_api.manipulation import broadcast_to, flip, repeat
from tinytorch.backend import DType
from tinytorch.operation import Like, Saves, operation
from tinytorch.tensor import Tensor

__all__ = [
    "getitem",
    "setitem",
    "take",
    "take_along_axis",
]

Key = Any  #: integers, slices, ``None``, ``...``, integer or boolean Tensors, or a tuple of these


@operation(saves=Saves.OTHERS)
def take(xp: Any, x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The slices of x at ``indices`` (one dimension, whole numbers) along ``axis``."""
    return xp.take(x, indices, axis=axis)


def _take_rule(xp: Any, g: Any, out: Any, x: Any, indices: Any, axis: int | None = None) -> Any:
    axis = 0 if axis is None else axis % x.ndim
    length = x.shape[axis]
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    rows = xp.reshape(xp.moveaxis(g, axis, 0), (g.shape[axis], math.prod(rest)))
    return xp.moveaxis(xp.reshape(add_rows(xp, rows, indices, length), (length, *rest)), 0, axis)


@operation(saves=Saves.OTHERS)
def take_along_axis(xp: Any, x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """For each position along the other dimensions, the elements of x at ``indices`` along ``axis``."""
    return xp.take_along_axis(x, indices, axis=axis)


def _take_along_axis_rule(xp: Any, g: Any, out: Any, x: Any, indices: Any, axis: int = -1) -> Any:
    places = xp.take_along_axis(_places(xp, x.shape), indices, axis=axis)
    return _add_at(xp, g, places, x.shape)


@operation(saves=Saves.OTHERS)
def _getitem(xp: Any, x: Tensor, key: Key, /) -> Tensor:
    return x[key]


_getitem.__name__ = "getitem"


def getitem(x: Tensor, key: Key, /) -> Tensor:
    """``x[key]``."""
    key, reversed_axes = _forwards(x.shape, key)
    return flip(_getitem(x, key), axis=reversed_axes) if reversed_axes else _getitem(x, key)


def _forwards(shape: tuple[int, ...], key: Key) -> tuple[Key, tuple[int, ...]]:
    """``key`` with steps backwards turned round, as not every array library takes them, and the axes of the result to reverse after it.

    Raises ``IndexError`` for a list, which is no index in the standard.
    """
    parts = key if type(key) is tuple else (key,)
    backwards = False
    for part in parts:
        if type(part) is slice:
            backwards = backwards or (part.step is not None and part.step < 0)
        elif isinstance(part, list):
            raise IndexError("a list is not an index in the standard; make it one with tinytorch.asarray([...])")
    if not backwards or any(hasattr(part, "dtype") for part in parts):
        return key, ()
    return _turned(shape, parts)


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
    if any(hasattr(part, "dtype") for part in parts):  # an index array can name a place twice
        return _add_at(xp, g, _places(xp, x.shape)[key], x.shape)
    zeros = xp.zeros(x.shape, dtype=g.dtype)
    if any(part is None for part in parts):  # in the standard, new dimensions can be read but not written
        key = tuple(part for part in parts if part is not None)
        g = xp.reshape(g, zeros[key].shape)
    return replaced(xp, zeros, key, g)


@operation
def _setitem(xp: Any, x: Tensor, key: Key, value: Tensor | complex, /) -> Tensor:
    if not isinstance(value, int | float | complex) and value.dtype != x.dtype:
        value = xp.astype(value, x.dtype)
    return replaced(xp, x, key, value)


_setitem.__name__ = "setitem"
_setitem.derivatives(
    x=lambda xp, g, out, x, key, value: replaced(xp, g, key, 0),
    value=lambda xp, g, out, x, key, value: g[key],
)


def setitem(x: Tensor, key: Key, value: Tensor | complex, /) -> Tensor:
    """A copy of x with ``value`` at ``x[key]``; ``x[key] = value`` gives x this value.

    Raises ``TypeError`` for complex values in a real Tensor, and for fractions in one of whole numbers.
    """
    if isinstance(value, Tensor) and _loses(value.dtype, x.dtype):
        raise TypeError(f"setitem: {value.dtype.name} values do not fit into {x.dtype.name}; convert them, or x, with tinytorch.astype")
    key, reversed_axes = _forwards(x.shape, key)
    if reversed_axes and isinstance(value, Tensor):
        value = flip(broadcast_to(value, x[key].shape), axis=reversed_axes)
    return _setitem(x, key, value)


def _loses(source: DType, target: DType) -> bool:
    """Whether numbers of one type have parts that another cannot hold, through which a gradient would be lost."""
    complex_part = source.kind == "complex floating" and target.kind != "complex floating"
    return complex_part or (source.is_floating and not target.is_floating)


def replaced(xp: Any, x: Any, key: Key, value: Any) -> Any:
    """A copy of x, a raw array or a Tensor, with other values at ``key``."""
    if isinstance(x, Tensor):
        return setitem(x, key, value)
    from array_api_extra import at  # loaded on first use: it brings array_api_compat with it

    return at(x, key).set(value, copy=True, xp=xp)


def add_rows(xp: Any, rows: Any, indices: Any, length: int) -> Any:
    """Sum the (N, D) ``rows`` that belong to each of ``length`` indices: (length, D).

    Rows in the order of their index are added up within each index by doubling (Blelloch 1990, *Prefix Sums*, section 1.5). A one-hot
    matrix or differences of a running sum would be quicker, but spread a row that is not finite, or its rounding, over all the others.
    """
    count = rows.shape[0]
    if count == 0:
        return xp.zeros((length, *rows.shape[1:]), dtype=rows.dtype)
    indices = xp.where(indices < 0, indices + length, indices)
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


def _places(xp: Any, shape: tuple[int, ...]) -> Any:
    """An array of ``shape`` that holds each element's position in the flattened array."""
    return xp.reshape(xp.arange(math.prod(shape)), shape)


def _add_at(xp: Any, g: Any, places: Any, shape: tuple[int, ...]) -> Any:
    """Sum ``g`` into an array of ``shape`` at flattened positions, of the same shape as g."""
    return xp.reshape(add_rows(xp, xp.reshape(g, (-1, 1)), xp.reshape(places, (-1,)), math.prod(shape)), shape)


def _repeat_rule(xp: Any, g: Any, out: Any, x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Sum what each slice was repeated to: a repetition is a `take` whose indices repeat."""
    length = math.prod(x.shape) if axis is None else x.shape[axis]
    indices = xp.repeat(xp.arange(length), repeats)
    flat = Like((length,), x.dtype) if axis is None else x
    return xp.reshape(_take_rule(xp, g, out, flat, indices, axis), x.shape)


take.derivatives(x=_take_rule)
repeat.derivatives(x=_repeat_rule)
take_along_axis.derivatives(x=_take_along_axis_rule)
_getitem.derivatives(x=_getitem_rule)
