"""Data types and conversion between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinytorch.autograd.operation import Saves, operation
from tinytorch.backend import DType, current_backend
from tinytorch.backend.dtypes import DTYPES, dtype_named
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
    """The standard's name of a data type given as a `DType`, a string, or an array library's own object."""
    if isinstance(dtype, DType):
        return dtype.name
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return dtype_named(name.rsplit(".", 1)[-1].rstrip("_")).name


@operation(saves=Saves.NOTHING)
def _astype(xp: Any, x: Tensor, dtype: Any, /, *, copy: bool = True) -> Tensor:
    return xp.astype(x, dtype, copy=copy)


_astype.__name__ = "astype"
_astype.derivatives(x=lambda xp, g, out, x, dtype, copy=True: g)  # the graph converts a gradient to its input's type


def astype(x: Tensor, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """x converted to ``dtype``. Whole numbers and truth values carry no gradient.

    Raises ``TypeError`` for complex x and a real ``dtype``, which the standard forbids.
    """
    target = dtype_named(dtype_name(dtype))
    if x.dtype.kind == "complex floating" and target.kind not in ("complex floating", "bool"):
        raise TypeError(f"astype: {x.dtype.name} does not become {target.name}; take tinytorch.real(x), imag(x) or abs(x) first")
    if device is not None:
        x = x.to(device)
    if not copy and x.dtype is target:
        return x
    return _astype(x if target.is_floating else x.detach(), target, copy=copy)


def as_index(indices: Any) -> Any:
    """Integers of a type that every array library takes for indices: PyTorch refuses narrow ones, and reads uint8 as a mask."""
    if isinstance(indices, Tensor) and indices.dtype.name not in ("int64", "int32", "bool"):
        return astype(indices, indices.backend.default_int)
    return indices


def _type_of(value: Any) -> Any:
    return value.dtype if isinstance(value, Tensor) else value


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The type that an operation on these Tensors, types and Python numbers would give."""
    backend = next((v.backend for v in arrays_and_dtypes if isinstance(v, Tensor)), None) or current_backend()
    types = [_type_of(v) for v in arrays_and_dtypes]
    raw = [t if isinstance(t, bool | int | float | complex) else backend.dtype(dtype_name(t)) for t in types]
    return DTYPES[dtype_name(backend.xp.result_type(*raw))]


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether the standard promotes one type, or a Tensor's, to another: on every backend the same."""
    source, target = [DTYPES[dtype_name(_type_of(t))] for t in (from_, to)]
    related = source.kind == target.kind or (source.kind, target.kind) in _PROMOTED
    return source is target or (related and source.itemsize < target.itemsize)


_PROMOTED = (("unsigned integer", "signed integer"), ("real floating", "complex floating"))


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a data type is ``kind``: another type, a kind's name such as "integral" or "real floating", or a tuple of these."""
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
    """Limits of a floating-point type, as `finfo` gives them."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class IntegerInfo:
    """Limits of an integer type, as `iinfo` gives them."""

    bits: int
    max: int
    min: int
    dtype: DType


#: Bits, bits of the significand (the hidden one counts) and largest exponent of IEEE 754's formats, and of bfloat16.
_FORMATS = {"float16": (16, 11, 15), "bfloat16": (16, 8, 127), "float32": (32, 24, 127), "float64": (64, 53, 1023)}


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point type (of its parts, for a complex one)."""
    name = dtype_name(_type_of(type))
    part = {"complex64": "float32", "complex128": "float64"}.get(name, name)
    if part not in _FORMATS:
        raise TypeError(f"finfo is about floating-point types, got {name}; use iinfo for whole numbers")
    bits, precision, exponent = _FORMATS[part]
    eps = 2.0 ** (1 - precision)
    largest = (2.0 - eps) * 2.0**exponent
    return FloatInfo(bits, eps, largest, -largest, 2.0 ** (1 - exponent), dtype=DTYPES[part])


def iinfo(type: Any, /) -> IntegerInfo:
    """Limits of an integer type."""
    own = DTYPES[dtype_name(_type_of(type))]
    bits = 8 * own.itemsize
    if own.kind == "unsigned integer":
        return IntegerInfo(bits, 2**bits - 1, 0, own)
    if own.kind == "signed integer":
        return IntegerInfo(bits, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), own)
    raise TypeError(f"iinfo is about integer types, got {own.name}; use finfo for floating-point ones")
