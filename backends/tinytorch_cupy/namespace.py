"""cupy's namespace, with this plugin's own matmul, on one of several GPUs where there are such.

cupy runs everything, operators too, on the thread's *current* GPU, and most of its creation functions ignore ``device=``. With one GPU that
is always the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType, ModuleType
from typing import Any

import numpy

from tinytorch_cupy import gemm

#: What sorts, by thrust. It waits for the stream, which fails while that is captured, and in cupy 14.0 what thrust throws ends the process.
_SORTING = ("argsort", "sort", "unique_all", "unique_counts", "unique_inverse", "unique_values")


#: Indices for which a one-hot matrix is made.
_MOST_ONE_HOT = 512


def own_functions(cupy: Any, xp: Any) -> dict[str, Callable[..., Any]]:
    """What this plugin does in another way than array-api-compat's namespace for cupy, ``xp``, by the standard's dotted names.

    And `add_rows`, which tinytorch uses where it finds it.
    """

    def matmul(x1: Any, x2: Any, /) -> Any:
        """`matmul` without copies of transposed operands, in 16 bits too; see `tinytorch_cupy.gemm`."""
        return gemm.matmul(x1, x2)

    def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
        """`clip` without the masks whose size the host would have to know."""
        if xp.isdtype(x.dtype, "integral"):  # a bound beyond the type is none
            info = xp.iinfo(x.dtype)
            min = None if isinstance(min, int) and min <= info.min else min
            max = None if isinstance(max, int) and max >= info.max else max
        out = x if min is None else xp.maximum(x, min)
        out = out if max is None else xp.minimum(out, max)
        return xp.astype(out, x.dtype, copy=out is x)

    def finfo(of: Any, /) -> Any:
        """`finfo` of bfloat16 too, which numpy's does not know."""
        dtype = of if isinstance(of, type) else getattr(of, "dtype", of)
        if not _is_bfloat16(dtype):
            return xp.finfo(dtype)
        import ml_dtypes  # where the type is from

        info: Any = ml_dtypes.finfo
        return info(dtype)

    def isdtype(dtype: Any, kind: Any) -> bool:
        """`isdtype` of bfloat16 too, which numpy takes for no number."""
        if not _is_bfloat16(dtype):
            return bool(xp.isdtype(dtype, kind))
        return any(k in ("real floating", "numeric") or k is dtype or k == dtype for k in (kind if isinstance(kind, tuple) else (kind,)))

    def add_rows(rows: Any, indices: Any, length: int) -> Any:
        """The sum of the (N, D) ``rows`` that belong to each of ``length`` indices: (length, D). It does not sort, so it can be captured.

        For few indices a matmul with the one-hot matrix. For many by atomic additions, in any order.
        """
        if length <= _MOST_ONE_HOT:
            one_hot = xp.arange(length, dtype=indices.dtype)[:, None] == indices[None, :]
            return gemm.matmul(xp.astype(one_hot, rows.dtype), rows, exact=True)
        sums = xp.zeros((length, rows.shape[1]), dtype=rows.dtype)
        cupy.add.at(sums, indices, rows)
        return sums

    def divmod_(x1: Any, x2: Any) -> tuple[Any, Any]:
        """Quotient and remainder of floats, from the exact remainder of `fmod`; cupy has the floor of x1 / x2, which may be rounded up."""
        like = x1 if hasattr(x1, "dtype") else x2
        x1, x2 = (x if hasattr(x, "dtype") else xp.full((), x, dtype=like.dtype) for x in (x1, x2))
        ratio, rest = x1 / x2, cupy.fmod(x1, x2)
        quotient = (x1 - rest) / x2
        turned = (rest != 0) & ((rest < 0) != (x2 < 0))  # the remainder has the sign of x2
        rest, quotient = xp.where(turned, rest + x2, rest), xp.round(xp.where(turned, quotient - 1, quotient))
        zero = xp.zeros_like(rest)
        quotient = xp.where(x2 == 0, ratio, xp.where(quotient == 0, xp.copysign(zero, ratio), quotient))
        return quotient, xp.where(rest == 0, xp.copysign(zero, x2), rest)

    def floor_divide(x1: Any, x2: Any, /) -> Any:
        """`floor_divide`, with the quotient that belongs to `remainder`."""
        return divmod_(x1, x2)[0] if _are_wide_floats(x1, x2) else xp.floor_divide(x1, x2)

    def remainder(x1: Any, x2: Any, /) -> Any:
        """`remainder`, exact as in numpy: 1 % 0.1 is just under 0.1."""
        return divmod_(x1, x2)[1] if _are_wide_floats(x1, x2) else xp.remainder(x1, x2)

    def linspace(start: Any, stop: Any, /, num: int, **options: Any) -> Any:
        """`linspace` between complex numbers too, which cupy takes for real ones."""
        if not (isinstance(start, complex) or isinstance(stop, complex)):
            return xp.linspace(start, stop, num, **options)
        dtype = options.pop("dtype", None)
        real, imaginary = (xp.linspace(a, b, num, **options) for a, b in zip(_parts(start), _parts(stop), strict=True))
        return xp.astype(real + 1j * imaginary, xp.complex128 if dtype is None else dtype)

    def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
        """`repeat` by an array of repeats too, which cupy refuses. The host reads how long the result is."""
        if not hasattr(repeats, "dtype"):
            return xp.repeat(x, repeats, axis=axis)
        if axis is None:
            x, axis = xp.reshape(x, (-1,)), 0
        repeats = xp.astype(xp.reshape(repeats, (-1,)), xp.int64, copy=False)
        if repeats.shape[0] not in (1, x.shape[axis]):
            raise ValueError(f"repeat needs 1 or {x.shape[axis]} repeats for an axis of length {x.shape[axis]}, got {repeats.shape[0]}")
        if x.shape[axis] == 0:
            return xp.astype(x, x.dtype)
        ends = xp.cumulative_sum(xp.broadcast_to(repeats, (x.shape[axis],)))
        least, length = xp.stack([xp.min(repeats), ends[-1]]).tolist()
        if least < 0:
            raise ValueError(f"repeats must not be negative, got {least}")
        return xp.take(x, xp.searchsorted(ends, xp.arange(length, dtype=xp.int64), side="right"), axis=axis)

    def solve(x1: Any, x2: Any, /) -> Any:
        """`linalg.solve` for batches that broadcast, which cupy takes only where they are equal."""
        if x2.ndim == 1:
            return xp.linalg.solve(x1, x2)
        batch = numpy.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
        matrices, right = (xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (x1, x2))
        return xp.linalg.solve(matrices, right) if right.size else xp.zeros(right.shape, dtype=xp.result_type(x1, x2))

    def where(condition: Any, x1: Any, x2: Any, /) -> Any:
        """`where` of bfloat16 too, which cupy would return as float32: bits are chosen, which need not be understood."""
        like = next((x for x in (x1, x2) if _is_bfloat16(getattr(x, "dtype", None))), None)
        if like is None:
            return xp.where(condition, x1, x2)
        sides = [x if hasattr(x, "dtype") else xp.astype(xp.full((), x, dtype=xp.float32), like.dtype) for x in (x1, x2)]
        if any(x.dtype != like.dtype for x in sides):  # of mixed types: what they are promoted to
            return xp.where(condition, *sides)
        return xp.where(condition, *[x.view("int16") for x in sides]).view(like.dtype)

    def not_captured(name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(xp, name)

        @wraps(function)
        def refusing(*args: Any, **options: Any) -> Any:
            if cupy.cuda.get_current_stream().is_capturing():
                raise NotImplementedError(f"{name} cannot be captured in a CUDA graph")
            return function(*args, **options)

        return refusing

    return {
        "add_rows": add_rows,
        "clip": clip,
        "finfo": finfo,
        "floor_divide": floor_divide,
        "isdtype": isdtype,
        "linalg.solve": solve,
        "linspace": linspace,
        "matmul": matmul,
        "remainder": remainder,
        "repeat": repeat,
        "where": where,
        **{name: not_captured(name) for name in _SORTING},
    }


def _are_wide_floats(*values: Any) -> bool:
    """Whether the arrays among the operands are of float32 or float64."""
    return all(value.dtype.kind == "f" and value.dtype.itemsize > 2 for value in values if hasattr(value, "dtype"))


def _parts(number: complex) -> tuple[float, float]:
    number = complex(number)
    return number.real, number.imag


def _is_bfloat16(dtype: Any) -> bool:
    return getattr(dtype, "name", getattr(dtype, "__name__", None)) == "bfloat16"


def on_gpu(device: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` that first makes ``device`` the thread's current GPU, and leaves it so.

    The operators of the arrays that come out (``a + b``) run on the current GPU as well, and cannot be wrapped.
    """
    make_current = device.use

    @wraps(function)
    def bound(*args: Any, **options: Any) -> Any:
        make_current()
        return function(*args, **options)

    return bound


class CupyNamespace:
    """A module of cupy's functions, with the plugin's own in place of some.

    Where ``device`` is given, each function runs there; see `on_gpu`.
    """

    def __init__(self, module: ModuleType, device: Any, own: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> None:
        self._module = module
        self._device = device
        self._own = own

    def __getattr__(self, name: str) -> Any:
        value = self._own.get(name) or getattr(self._module, name)
        if isinstance(value, ModuleType):
            inside = {dotted.removeprefix(f"{name}."): function for dotted, function in self._own.items() if dotted.startswith(f"{name}.")}
            value = CupyNamespace(value, self._device, inside)
        elif self._device is not None and callable(value) and not isinstance(value, type):  # data types are classes, and belong to no GPU
            value = on_gpu(self._device, value)
        setattr(self, name, value)  # from now on an ordinary attribute
        return value

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __repr__(self) -> str:
        return f"<{self._module.__name__} on {self._device or 'the GPU'}>"
