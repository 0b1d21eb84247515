"""cupy's namespace with this plugin's overrides, such as matmul, bound to one GPU if there are several.

cupy runs everything, including operators, on the thread's *current* GPU, and most of its creation functions ignore ``device=``. With only
one GPU, the current GPU is always the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from types import MappingProxyType, ModuleType
from typing import Any

import numpy

from tinytorch_cupy import gemm
from tinytorch_cupy.kernels.embedding import sum_by_id, supports_sizes
from tinytorch_cupy.kernels.launch import INTEGERS, KernelUnavailable

#: Functions that sort with Thrust.
_SORTING_FUNCTIONS = ("argsort", "isin", "sort", "unique_all", "unique_counts", "unique_inverse", "unique_values")

#: The first cupy that catches errors of Thrust (cupy issue 9894). Before, an error ends the process, and a sort for which memory does not
#: suffice gives a wrong result.
_CATCHES_THRUST_ERRORS = "14.1.0"

#: Functions of the namespace `fft` that use cuFFT.
_FFT_FUNCTIONS = ("fft", "ifft", "fftn", "ifftn", "rfft", "irfft", "rfftn", "irfftn", "hfft", "ihfft")


def override_functions(cupy: Any, xp: Any) -> dict[str, Callable[..., Any]]:
    """Functions that replace those of ``xp``, array-api-compat's namespace for cupy, by name, such as ``linalg.solve``.

    Also `add_rows`, an optional function that tinytorch uses if a namespace has it.
    """

    def matmul(x1: Any, x2: Any, /) -> Any:
        """`matmul` without copies of transposed operands, also for 16-bit dtypes; see `tinytorch_cupy.gemm`."""
        return gemm.matmul(x1, x2)

    def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
        """`clip` without boolean indexing, which would synchronize with the host."""
        if xp.isdtype(x.dtype, "integral"):  # a bound outside the dtype's range has no effect
            info = xp.iinfo(x.dtype)
            min = None if isinstance(min, int) and min <= info.min else min
            max = None if isinstance(max, int) and max >= info.max else max
        out = x if min is None else xp.maximum(x, min)
        out = out if max is None else xp.minimum(out, max)
        return xp.astype(out, x.dtype, copy=out is x)

    def finfo(of: Any, /) -> Any:
        """`finfo`, also of bfloat16, which numpy's does not support."""
        dtype = of if isinstance(of, type) else getattr(of, "dtype", of)
        if not _is_bfloat16(dtype):
            return xp.finfo(dtype)
        import ml_dtypes  # defines the dtype

        info: Any = ml_dtypes.finfo
        return info(dtype)

    def isdtype(dtype: Any, kind: Any) -> bool:
        """`isdtype`, also of bfloat16, which numpy does not classify as numeric."""
        if not _is_bfloat16(dtype):
            return bool(xp.isdtype(dtype, kind))
        return any(k in ("real floating", "numeric") or k is dtype or k == dtype for k in (kind if isinstance(kind, tuple) else (kind,)))

    def add_rows(rows: Any, indices: Any, length: int) -> Any:
        """Scatter-add: sum the (N, D) ``rows`` by index into (length, D), in the order of the rows. It can be captured in a graph.

        The kernel of `embedding` sums float32 and 16-bit rows. cupy sums others by atomic additions, whose order varies.
        """
        if rows.dtype.kind == "c":  # pairs of real numbers
            pairs = cupy.ascontiguousarray(rows).view(f"float{4 * rows.dtype.itemsize}")
            return add_rows(pairs, indices, length).view(rows.dtype)
        indices = indices if indices.dtype.name in INTEGERS else xp.astype(indices, xp.int64)
        if supports_sizes(rows, indices):
            with suppress(KernelUnavailable):
                return sum_by_id(rows, indices, length)
        sums = xp.zeros((length, rows.shape[1]), dtype=rows.dtype)
        cupy.add.at(sums, indices, rows)
        return sums

    def divmod_(x1: Any, x2: Any) -> tuple[Any, Any]:
        """Quotient and remainder of floats from the exact `fmod`. cupy uses floor(x1 / x2), where the division may round up."""
        like = x1 if hasattr(x1, "dtype") else x2
        x1, x2 = (x if hasattr(x, "dtype") else xp.full((), x, dtype=like.dtype) for x in (x1, x2))
        ratio, remainder_ = x1 / x2, cupy.fmod(x1, x2)
        quotient = (x1 - remainder_) / x2
        adjust = (remainder_ != 0) & ((remainder_ < 0) != (x2 < 0))  # the remainder has the sign of x2
        remainder_, quotient = xp.where(adjust, remainder_ + x2, remainder_), xp.round(xp.where(adjust, quotient - 1, quotient))
        zero = xp.zeros_like(remainder_)
        quotient = xp.where(x2 == 0, ratio, xp.where(quotient == 0, xp.copysign(zero, ratio), quotient))
        return quotient, xp.where(remainder_ == 0, xp.copysign(zero, x2), remainder_)

    def floor_divide(x1: Any, x2: Any, /) -> Any:
        """`floor_divide`, consistent with `remainder`."""
        return divmod_(x1, x2)[0] if _are_wide_floats(x1, x2) else xp.floor_divide(x1, x2)

    def remainder(x1: Any, x2: Any, /) -> Any:
        """`remainder`, exact as in numpy: 1 % 0.1 is slightly less than 0.1."""
        return divmod_(x1, x2)[1] if _are_wide_floats(x1, x2) else xp.remainder(x1, x2)

    def linspace(start: Any, stop: Any, /, num: int, **options: Any) -> Any:
        """`linspace`, also between complex numbers, whose imaginary parts cupy ignores."""
        if not (isinstance(start, complex) or isinstance(stop, complex)):
            return xp.linspace(start, stop, num, **options)
        dtype = options.pop("dtype", None)
        real, imaginary = (
            xp.linspace(a, b, num, **options) for a, b in zip(_real_and_imaginary(start), _real_and_imaginary(stop), strict=True)
        )
        return xp.astype(real + 1j * imaginary, xp.complex128 if dtype is None else dtype)

    def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
        """`repeat`, also with an array of repeats, which cupy does not support. The host reads the length of the result."""
        if not hasattr(repeats, "dtype"):
            return xp.repeat(x, repeats, axis=axis)
        if axis is None:
            x, axis = xp.reshape(x, (-1,)), 0
        repeats = xp.astype(xp.reshape(repeats, (-1,)), xp.int64, copy=False)
        if repeats.shape[0] not in (1, x.shape[axis]):
            raise ValueError(f"repeat: expected 1 or {x.shape[axis]} repeats for an axis of length {x.shape[axis]}, got {repeats.shape[0]}")
        if x.shape[axis] == 0:
            return xp.astype(x, x.dtype)
        ends = xp.cumulative_sum(xp.broadcast_to(repeats, (x.shape[axis],)))
        smallest, length = xp.stack([xp.min(repeats), ends[-1]]).tolist()
        if smallest < 0:
            raise ValueError(f"repeats must not be negative, got {smallest}")
        return xp.take(x, xp.searchsorted(ends, xp.arange(length, dtype=xp.int64), side="right"), axis=axis)

    def solve(x1: Any, x2: Any, /) -> Any:
        """`linalg.solve` with broadcasting of batch dimensions; cupy requires equal ones."""
        if x2.ndim == 1:
            return xp.linalg.solve(x1, x2)
        batch = numpy.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
        matrices, right = (xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (x1, x2))
        return xp.linalg.solve(matrices, right) if right.size else xp.zeros(right.shape, dtype=xp.result_type(x1, x2))

    def where(condition: Any, x1: Any, x2: Any, /) -> Any:
        """`where`, also for bfloat16, for which cupy returns float32. It selects the values as int16 bit patterns."""
        like = next((x for x in (x1, x2) if _is_bfloat16(getattr(x, "dtype", None))), None)
        if like is None:
            return xp.where(condition, x1, x2)
        sides = [x if hasattr(x, "dtype") else xp.astype(xp.full((), x, dtype=xp.float32), like.dtype) for x in (x1, x2)]
        if any(x.dtype != like.dtype for x in sides):  # mixed dtypes are promoted
            return xp.where(condition, *sides)
        return xp.where(condition, *[x.view("int16") for x in sides]).view(like.dtype)

    def raise_during_capture(name: str, reason: str) -> None:
        if cupy.cuda.get_current_stream().is_capturing():
            raise NotImplementedError(f"{name} cannot be captured in a CUDA graph: {reason}")

    def sorting(name: str) -> Callable[..., Any]:
        """A function that sorts with Thrust, if cupy does not catch errors of Thrust: it raises before there can be one."""
        function: Callable[..., Any] = getattr(xp, name)

        @wraps(function)
        def checked(*args: Any, **options: Any) -> Any:
            raise_during_capture(name, f"cupy {cupy.__version__} does not catch errors of Thrust, {_CATCHES_THRUST_ERRORS} does")
            for array in args:
                if getattr(array, "size", 0):  # raises MemoryError if this does not fit; otherwise it is in the pool from now on
                    cupy.cuda.alloc(_bytes_to_sort(array))
            return function(*args, **options)

        return checked

    def fft(name: str) -> Callable[..., Any]:
        """A function that uses cuFFT. cupy caches plans, with their memory: a graph may outlive its plan, and a plan its graph's pool."""
        function: Callable[..., Any] = getattr(xp.fft, name)

        @wraps(function)
        def checked(*args: Any, **options: Any) -> Any:
            raise_during_capture(f"fft.{name}", "cupy may free the plan before the graph")
            with cupy.cuda.using_allocator(cupy.get_default_memory_pool().malloc):
                return function(*args, **options)

        return checked

    has_old_thrust = numpy.lib.NumpyVersion(cupy.__version__) < _CATCHES_THRUST_ERRORS
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
        **({name: sorting(name) for name in _SORTING_FUNCTIONS} if has_old_thrust else {}),
        **{f"fft.{name}": fft(name) for name in _FFT_FUNCTIONS},
    }


def _bytes_to_sort(array: Any) -> int:
    """At most the temporary memory that sorting an array needs: copies of it, and two arrays of int64 of the same size, twice."""
    return int(array.size) * (4 * int(array.dtype.itemsize) + 48) + 2**20


def _are_wide_floats(*values: Any) -> bool:
    """Whether all array operands are float32 or float64."""
    return all(value.dtype.kind == "f" and value.dtype.itemsize > 2 for value in values if hasattr(value, "dtype"))


def _real_and_imaginary(number: complex) -> tuple[float, float]:
    number = complex(number)
    return number.real, number.imag


def _is_bfloat16(dtype: Any) -> bool:
    return getattr(dtype, "name", getattr(dtype, "__name__", None)) == "bfloat16"


def on_gpu(device: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``function`` set the thread's current GPU to ``device`` before each call. The GPU stays current afterwards.

    Operators (``a + b``) on the returned arrays also run on the current GPU, and they cannot be wrapped.
    """
    make_current = device.use

    @wraps(function)
    def bound(*args: Any, **options: Any) -> Any:
        make_current()
        return function(*args, **options)

    return bound


class CupyNamespace:
    """A module of cupy's functions, some of them replaced by ``overrides``.

    If ``device`` is not ``None``, every function runs there; see `on_gpu`.
    """

    def __init__(self, module: ModuleType, device: Any, overrides: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> None:
        self._module = module
        self._device = device
        self._overrides = overrides

    def __getattr__(self, name: str) -> Any:
        value = self._overrides.get(name) or getattr(self._module, name)
        if isinstance(value, ModuleType):
            submodule_overrides = {
                dotted.removeprefix(f"{name}."): function for dotted, function in self._overrides.items() if dotted.startswith(f"{name}.")
            }
            value = CupyNamespace(value, self._device, submodule_overrides)
        elif self._device is not None and callable(value) and not isinstance(value, type):  # not dtypes
            value = on_gpu(self._device, value)
        setattr(self, name, value)  # cached: __getattr__ is not called again
        return value

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __repr__(self) -> str:
        return f"<{self._module.__name__} on {self._device or 'the GPU'}>"
