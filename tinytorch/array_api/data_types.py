"""Data types and conversions between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinytorch.autograd.arguments import as_tensors
from tinytorch.autograd.operation import Saves, operation
from tinytorch.backend import DType, current_backend
from tinytorch.backend.dtypes import DTYPES, dtype_named
from tinytorch.backend.host import is_host_operand
from tinytorch.tensor import Tensor

__all__ = [
    "astype",
    "can_cast",
    "finfo",
    "iinfo",
    "isdtype",
    "result_type",
]


def dtype_name(dtype: Any) -> str:
    """The standard's name of a dtype given as a `DType`, a string, or an array library's own object."""
    if isinstance(dtype, DType):
        return dtype.name
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return dtype_named(name.rsplit(".", 1)[-1].rstrip("_")).name


@operation(saves=Saves.NOTHING)
def _astype(xp: Any, x: Tensor, dtype: Any, /, *, copy: bool = True) -> Tensor:
    return xp.astype(x, dtype, copy=copy)


_astype.__name__ = "astype"
_astype.derivatives(x=lambda xp, g, out, x, dtype, copy=True: g)  # the graph converts a gradient to the dtype of its input


def astype(x: Tensor, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """x converted to ``dtype``. A conversion to integers or booleans is not differentiable.

    Args:
        x: any shape.
        dtype: a dtype or its name.
        copy: ``False`` returns x itself if the dtype does not change.
        device: defaults to the device of x.

    Raises:
        TypeError: x is complex and ``dtype`` is a real floating-point or integer dtype, which the standard forbids.

    Example:
        >>> tt.astype(tt.asarray([1.7, -1.7]), tt.int64)
        Tensor([ 1, -1], dtype=int64, device='numpy:cpu')
    """
    (x,) = as_tensors("astype", x)
    target = dtype_named(dtype_name(dtype))
    if x.dtype.kind == "complex floating" and target.kind not in ("complex floating", "bool"):
        raise TypeError(f"astype: cannot convert {x.dtype.name} to {target.name}; use tinytorch.real(x), imag(x) or abs(x)")
    if device is not None:
        x = x.to(device)
    if not copy and x.dtype is target:
        return x
    return _astype(x if target.is_floating else x.detach(), target, copy=copy)


def as_index(indices: Any) -> Any:
    """Integers of a dtype that every array library accepts as indices: PyTorch rejects narrow integers and treats uint8 as a mask."""
    if isinstance(indices, Tensor) and indices.dtype.name not in ("int64", "int32", "bool"):
        return astype(indices, indices.backend.default_int)
    return indices


def _dtype_of(value: Any) -> Any:
    return value.dtype if isinstance(value, Tensor) or is_host_operand(value) else value


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that promotion gives for these Tensors, dtypes and Python numbers.

    Example:
        >>> tt.result_type(tt.asarray([1.0]), tt.float64)
        tinytorch.float64
    """
    backend = next((v.backend for v in arrays_and_dtypes if isinstance(v, Tensor)), None) or current_backend()
    types = [_dtype_of(v) for v in arrays_and_dtypes]
    raw = [t if isinstance(t, bool | int | float | complex) else backend.dtype(dtype_name(t)) for t in types]
    return DTYPES[dtype_name(backend.xp.result_type(*raw))]


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether one dtype (or the dtype of a Tensor) can be promoted to another by the standard's rules; the same on every backend.

    Example:
        >>> tt.can_cast(tt.int8, tt.int32), tt.can_cast(tt.float64, tt.float32)
        (True, False)
    """
    source, target = [DTYPES[dtype_name(_dtype_of(t))] for t in (from_, to)]
    related = source.kind == target.kind or (source.kind, target.kind) in _PROMOTED
    return source is target or (related and source.itemsize < target.itemsize)


_PROMOTED = (("unsigned integer", "signed integer"), ("real floating", "complex floating"))


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a given kind.

    Args:
        dtype: a dtype or its name.
        kind: a dtype, the name of a kind such as "integral" or "real floating", or a tuple of these.

    Example:
        >>> tt.isdtype(tt.int8, "integral")
        True
    """
    own = dtype_named(dtype_name(dtype))
    if isinstance(kind, tuple):
        return any(isdtype(own, k) for k in kind)
    if isinstance(kind, str) and kind in _KINDS:
        return own.kind in _KINDS[kind]
    return own is dtype_named(dtype_name(kind))


_KINDS = {
    "bool": ("bool",),
    "signed integer": ("signed integer",),
    "unsigned integer": ("unsigned integer",),
    "integral": ("signed integer", "unsigned integer"),
    "real floating": ("real floating",),
    "complex floating": ("complex floating",),
    "numeric": ("signed integer", "unsigned integer", "real floating", "complex floating"),
}


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating-point dtype, the result of `finfo`."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class IntegerInfo:
    """Limits of an integer dtype, the result of `iinfo`."""

    bits: int
    max: int
    min: int
    dtype: DType


#: Size in bits, precision in bits (with the hidden bit) and largest exponent of the IEEE 754 formats and of bfloat16.
_FORMATS = {"float16": (16, 11, 15), "bfloat16": (16, 8, 127), "float32": (32, 24, 127), "float64": (64, 53, 1023)}


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point dtype; for a complex dtype, of its real and imaginary parts.

    Example:
        >>> tt.finfo(tt.float32).bits
        32
    """
    name = dtype_name(_dtype_of(type))
    part = {"complex64": "float32", "complex128": "float64"}.get(name, name)
    if part not in _FORMATS:
        raise TypeError(f"finfo requires a floating-point dtype, got {name}; use iinfo for integers")
    bits, precision, exponent = _FORMATS[part]
    eps = 2.0 ** (1 - precision)
    largest = (2.0 - eps) * 2.0**exponent
    return FloatInfo(bits, eps, largest, -largest, 2.0 ** (1 - exponent), dtype=DTYPES[part])


def iinfo(type: Any, /) -> IntegerInfo:
    """Limits of an integer dtype.

    Example:
        >>> tt.iinfo(tt.int8).max
        127
    """
    own = DTYPES[dtype_name(_dtype_of(type))]
    bits = 8 * own.itemsize
    if own.kind == "unsigned integer":
        return IntegerInfo(bits, 2**bits - 1, 0, own)
    if own.kind == "signed integer":
        return IntegerInfo(bits, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), own)
    raise TypeError(f"iinfo requires an integer dtype, got {own.name}; use finfo for floating-point dtypes")
