"""A table of calls for every operation. Each call runs on Tensors and on numpy arrays, which provide the expected values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from tinytorch.tensor import Tensor


@dataclass(frozen=True)
class Case:
    """A call of an operation.

    Attributes:
        operation: the name of the operation.
        call: ``call(xp, *inputs)`` runs it with the functions of a namespace.
        inputs: host arrays; float64 inputs are differentiated.
        order: the highest order of derivatives that exist at these inputs.
        tolerance: relative tolerance of values; divided by 100, the absolute tolerance.
    """

    operation: str
    call: Callable[..., Any]
    inputs: tuple[Any, ...]
    order: int = 2
    tolerance: float = 1e-13


CASES: list[Case] = []


def case(operation: str, call: Callable[..., Any], *inputs: Any, order: int = 2, tolerance: float = 1e-13) -> None:
    CASES.append(Case(operation, call, inputs, order, tolerance))


_random = numpy.random.default_rng(7)


def normal(*shape: int) -> Any:
    return numpy.asarray(_random.normal(size=shape))


def uniform(low: float, high: float, *shape: int) -> Any:
    return numpy.asarray(_random.uniform(low, high, shape))


def array(*values: Any) -> Any:
    return numpy.array(values)


# ---- element-wise functions of one operand, at points where they are smooth ----

for _name, _low, _high in [
    ("abs", 0.1, 2),
    ("acos", -0.9, 0.9),
    ("acosh", 1.2, 3),
    ("asin", -0.9, 0.9),
    ("asinh", -2, 2),
    ("atan", -2, 2),
    ("atanh", -0.9, 0.9),
    ("cos", -2, 2),
    ("cosh", -2, 2),
    ("exp", -2, 2),
    ("expm1", -2, 2),
    ("log", 0.3, 3),
    ("log10", 0.3, 3),
    ("log1p", -0.7, 3),
    ("log2", 0.3, 3),
    ("negative", -2, 2),
    ("positive", -2, 2),
    ("reciprocal", 0.5, 2),
    ("sin", -2, 2),
    ("sinh", -2, 2),
    ("sqrt", 0.3, 3),
    ("square", -2, 2),
    ("tan", -1, 1),
    ("tanh", -2, 2),
]:
    case(_name, lambda xp, x, name=_name: getattr(xp, name)(x), uniform(_low, _high, 2, 3))
    case(_name, lambda xp, x, name=_name: getattr(xp, name)(x), uniform(_low, _high))
case("abs", lambda xp, x: xp.abs(x), numpy.float64([-2, -0.5, 3]))
case("sign", lambda xp, x: xp.sign(x), numpy.float64([-2, 0.5]))
case("abs", lambda xp, x: xp.abs(x), numpy.float64([0, 1]), order=1)  # the derivative is taken as 0 at the kink
case("square", lambda xp, x: xp.square(x), numpy.float64([0, 1]))
case("hypot", lambda xp, x, y: xp.hypot(x, y), numpy.float64([0, 1]), numpy.float64([0, 0]), order=1)  # the same

# ---- element-wise functions of two operands: equal shapes, broadcasting, and a number on either side ----

_SHAPES = [((3,), (3,)), ((2, 1, 3), (4, 1)), ((), (2, 2)), ((1, 1), (3,))]
for _name, _left, _right in [
    ("add", (-2, 2), (-2, 2)),
    ("atan2", (0.5, 2), (0.5, 2)),
    ("copysign", (0.5, 2), (-2, -0.5)),
    ("divide", (-2, 2), (0.5, 2)),
    ("hypot", (0.5, 2), (-2, -0.5)),
    ("logaddexp", (-2, 2), (-2, 2)),
    ("maximum", (-2, 2), (-2, 2)),
    ("minimum", (-2, 2), (-2, 2)),
    ("multiply", (-2, 2), (-2, 2)),
    ("pow", (0.5, 2), (-2, 2)),
    ("remainder", (3.1, 3.9), (0.8, 0.9)),
    ("subtract", (-2, 2), (-2, 2)),
]:
    for _a, _b in _SHAPES:
        case(_name, lambda xp, x, y, name=_name: getattr(xp, name)(x, y), uniform(*_left, *_a), uniform(*_right, *_b))
    case(_name, lambda xp, x, name=_name: getattr(xp, name)(x, x * 0.5 + 0.4), uniform(*_left, 3))
    case(_name, lambda xp, x, name=_name: getattr(xp, name)(x, 0.7), uniform(*_left, 3))
    case(_name, lambda xp, x, name=_name: getattr(xp, name)(0.9, x), uniform(*_right, 3))
for _name in ("maximum", "minimum"):  # equal operands share the gradient
    case(_name, lambda xp, x, y, name=_name: getattr(xp, name)(x, y), numpy.float64([1, 2]), numpy.float64([1, 3]), order=1)
for _power in (0, 1, 2, 3, -1, 0.5, 2.5):
    case("pow", lambda xp, x, power=_power: xp.pow(x, power), uniform(0.5, 2, 3))
for _power in (0, 1, 2, 3):  # at 0 and at negative numbers
    case("pow", lambda xp, x, power=_power: xp.pow(x, power), numpy.float64([0, -1.5, 2]))
case("pow", lambda xp, x: xp.pow(x, xp.asarray([0.0, 1.0, 2.0, 3.0])), numpy.float64([0, 0, 0, -2]))
case("pow", lambda xp, x: xp.pow(xp.asarray([0.0, 2.0]), x), numpy.float64([2, 3]))
case("remainder", lambda xp, x, y: xp.remainder(x, y), numpy.float64([-3.3, 3.3]), numpy.float64([2, -2]))

# ---- clip ----

case("clip", lambda xp, x: xp.clip(x, -0.5, 0.5), numpy.float64([-1, -0.2, 0.3, 2]))
case("clip", lambda xp, x: xp.clip(x, min=0.0), numpy.float64([-1, 0.3]))
case("clip", lambda xp, x: xp.clip(x, max=0.0), numpy.float64([-1, 0.3]))
case("clip", lambda xp, x: xp.clip(x), normal(2))
case("clip", lambda xp, x, low, high: xp.clip(x, low, high), uniform(-2, 2, 4, 3), uniform(-1, 0, 3), uniform(0.1, 1, 4, 1))

# ---- reductions ----

for _name in ("sum", "prod", "mean", "var", "std", "max", "min"):
    for _axis in (None, 0, -1, (0, 2), (1, -1), (0, 1, 2)):
        for _keep in (False, True):
            case(_name, lambda xp, x, n=_name, a=_axis, k=_keep: getattr(xp, n)(x, axis=a, keepdims=k), normal(2, 3, 4))
    if _name not in ("var", "std"):
        case(_name, lambda xp, x, n=_name: getattr(xp, n)(x), normal())
for _name in ("var", "std"):
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x, axis=0, correction=1), normal(4, 2))
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x, correction=0.5), normal(4, 2))
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x, axis=1), normal(3, 1))  # one element each
case("std", lambda xp, x: xp.std(x), numpy.float64([2, 2, 2]), order=1)  # the derivative is taken as 0 if all elements are equal
for _name in ("max", "min"):  # equal elements share the gradient
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x, axis=0), numpy.float64([[1, 2], [1, 2], [1.5, 1.5]]), order=1)
case("sum", lambda xp, x: xp.sum(x, dtype=xp.float64, axis=1), normal(2, 3))
case("sum", lambda xp, x: xp.sum(x, axis=()), normal(2, 3))
for _name in ("cumulative_sum", "cumulative_prod"):
    for _axis in (0, 1, -1):
        for _first in (False, True):
            case(_name, lambda xp, x, n=_name, a=_axis, f=_first: getattr(xp, n)(x, axis=a, include_initial=f), normal(2, 3))
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x), normal(5))
case("cumulative_prod", lambda xp, x: xp.cumulative_prod(x), numpy.float64([2, 0, 3, 0, -1]))  # with zeros
case("prod", lambda xp, x: xp.prod(x, axis=1), numpy.float64([[2, 0, 3], [0, 0, 5], [1, 2, 3]]))
case("prod", lambda xp, x: xp.prod(x, dtype=xp.float64), normal(0))
case("all", lambda xp, x: xp.all(x > 0, axis=0), normal(2, 3))
case("any", lambda xp, x: xp.any(x > 0, axis=1, keepdims=True), normal(2, 3))
case("count_nonzero", lambda xp, x: xp.count_nonzero(x > 0, axis=1), normal(2, 3))

# ---- manipulation; results are squared, so that second derivatives are not 0 ----

for _shape in [(6,), (3, 2), (2, -1), (1, 2, 3, 1)]:
    case("reshape", lambda xp, x, s=_shape: xp.reshape(x, s) ** 2, normal(2, 3))
case("reshape", lambda xp, x: xp.reshape(x, (1,)), normal())
case("permute_dims", lambda xp, x: xp.permute_dims(x, (2, 0, 1)) ** 2, normal(2, 3, 4))
case("permute_dims", lambda xp, x: xp.permute_dims(x, (2, 0, 1)), normal(2, 3, 4))
case("matrix_transpose", lambda xp, x: xp.matrix_transpose(x) ** 2, normal(2, 3, 4))
case("moveaxis", lambda xp, x: xp.moveaxis(x, 0, -1) ** 2, normal(2, 3, 4))
case("moveaxis", lambda xp, x: xp.moveaxis(x, (0, 1), (2, 0)), normal(2, 3, 4))
for _axis in (0, 1, -1):
    case("expand_dims", lambda xp, x, a=_axis: xp.expand_dims(x, axis=a) ** 2, normal(2, 3))
case("squeeze", lambda xp, x: xp.squeeze(x, axis=1) ** 2, normal(2, 1, 3, 1))
case("squeeze", lambda xp, x: xp.squeeze(x, axis=(1, -1)), normal(2, 1, 3, 1))
case("broadcast_to", lambda xp, x: xp.broadcast_to(x, (4, 2, 3)) ** 2, normal(2, 1))
case("broadcast_to", lambda xp, x: xp.broadcast_to(x, (2, 2)), normal())
for _axis in (None, 0, -1, (0, 1)):
    case("flip", lambda xp, x, a=_axis: xp.flip(x, axis=a) ** 2, normal(2, 3))
case("roll", lambda xp, x: xp.roll(x, 2) ** 2, normal(2, 3))
case("roll", lambda xp, x: xp.roll(x, -1, axis=1), normal(2, 3))
case("roll", lambda xp, x: xp.roll(x, (1, -2), axis=(0, 1)), normal(2, 3))
for _axis in (0, -2, None):
    case("concat", lambda xp, x, y, a=_axis: xp.concat([x, y, x], axis=a) ** 2, normal(2, 3), normal(1, 3))
case("concat", lambda xp, x, y: xp.concat([x, y], axis=-1), normal(2, 1), normal(2, 3))
for _axis in (0, 1, -1):
    case("stack", lambda xp, x, y, a=_axis: xp.stack([x, y, x], axis=a) ** 2, normal(2, 3), normal(2, 3))
case("unstack", lambda xp, x: [part**2 for part in xp.unstack(x)], normal(3, 2))
case("unstack", lambda xp, x: xp.unstack(x, axis=-1)[1], normal(3, 2))
case("unstack", lambda xp, x: xp.unstack(x)[0] * xp.unstack(x)[1], normal(2, 3))
for _axis in (None, 0, -1):
    case("repeat", lambda xp, x, a=_axis: xp.repeat(x, 2, axis=a) ** 2, normal(2, 3))
case("repeat", lambda xp, x, r: xp.repeat(x, r, axis=1) ** 2, normal(2, 3), array(2, 0, 1))
case("repeat", lambda xp, x, r: xp.repeat(x, r), normal(3), array(1, 3, 0))
for _times in [(2,), (2, 3), (1, 2, 2), (2, 0)]:
    case("tile", lambda xp, x, t=_times: xp.tile(x, t) ** 2, normal(2, 3))
case("tile", lambda xp, x: xp.tile(x, (2, 2)), normal())
case("broadcast_arrays", lambda xp, x, y: [part**2 for part in xp.broadcast_arrays(x, y)], normal(2, 1), normal(3))
for _axis, _n in [(-1, 1), (0, 1), (1, 2), (0, 0)]:
    case("diff", lambda xp, x, a=_axis, n=_n: xp.diff(x, axis=a, n=n) ** 2, normal(3, 4))
case("diff", lambda xp, x, y: xp.diff(x, prepend=y, append=y) ** 2, normal(2, 3), normal(2, 1))
for _k in (-1, 0, 1):
    case("tril", lambda xp, x, k=_k: xp.tril(x, k=k) ** 2, normal(2, 3, 3))
    case("triu", lambda xp, x, k=_k: xp.triu(x, k=k) ** 2, normal(2, 3, 4))
case("meshgrid", lambda xp, x, y: xp.meshgrid(x, y), normal(2), normal(3))
case("meshgrid", lambda xp, x, y: xp.meshgrid(x, y, indexing="ij"), normal(2), normal(3))
case("astype", lambda xp, x: xp.astype(x, xp.float64) ** 2, normal(3))
case("astype", lambda xp, x: xp.astype(x, xp.float64, copy=False) ** 2, normal(3))
case("astype", lambda xp, x: x * xp.astype(xp.astype(x * 10, xp.int64), xp.float64), numpy.float64([0.55, 1.23]))

# ---- indexing, assignment, selection ----


def replace(x: Any, key: Any, value: Any) -> Any:
    """``x[key] = value`` on a copy."""
    if isinstance(x, Tensor):
        y = +x
    else:
        y = x.copy()
    y[key] = value
    return y


_ROWS = array(0, 2, 2, -1, 0)  # repeated and negative indices
for _axis in (0, 1, -1):
    case("take", lambda xp, x, i, a=_axis: xp.take(x, i, axis=a) ** 2, normal(3, 4, 3), _ROWS)
case("take", lambda xp, x, i: xp.take(x, i), normal(3), _ROWS)
case("take", lambda xp, x, i: xp.take(x, i, axis=0) ** 2, normal(300, 2), array(299, 0, 17, 17, -1, 3))  # many rows
case("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, axis=-1) ** 2, normal(2, 3), array([0, 0, 2, -1], [1, 1, 1, 0]))
case("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, axis=0), normal(3, 2), array([0, 2], [0, -2]))
case("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, axis=1) ** 2, normal(20, 20), array(*[[3, 3, -1]] * 20))
for _key in [(..., 1), (slice(None), -1), (0, ...), (..., slice(None, None, -1)), (slice(0, 3, 2), slice(1, 3)), (None, 1, 2), (1, 2), ...]:
    case("getitem", lambda xp, x, k=_key: x[k] ** 2, normal(3, 4))
case("getitem", lambda xp, x, i, j: x[i, j] ** 2, normal(3, 4), _ROWS, array(1, 1, 1, 3, -4))
case("getitem", lambda xp, x, i: x[i, 1] ** 2, normal(3, 4), _ROWS)
case("getitem", lambda xp, x, i: x[i], normal(3), _ROWS)
case("getitem", lambda xp, x, i: x[i] ** 2, normal(3), array([0, 2], [2, 2]))
case("getitem", lambda xp, x: x[x > 0] ** 2, numpy.float64([[-1, 2], [3, -4]]))
case("getitem", lambda xp, x, m: x[m] ** 2, normal(3, 2), array(True, False, True))
case("getitem", lambda xp, x, m: x[m], normal(2), array(False, False))
for _key in [(..., 1), (0, ...), (slice(0, 3, 2), slice(1, 3)), (1, 2), ...]:
    case("setitem", lambda xp, x, v, k=_key: replace(x, k, v) ** 2, normal(3, 4), normal())
    case("setitem", lambda xp, x, k=_key: replace(x, k, 2.0) ** 2, normal(3, 4))
case("setitem", lambda xp, x, v: replace(x, (slice(1, 3), ...), v) ** 2, normal(3, 4), normal(2, 4))
case("setitem", lambda xp, x, v: replace(x, (slice(1, 3), ...), v) ** 2, normal(3, 4), normal(4))  # broadcast over the rows
case("setitem", lambda xp, x, v, m: replace(x, m, v) ** 2, normal(3, 4), normal(), array(True, False, True))
case("setitem", lambda xp, x: replace(x, x < 0, 0.5) ** 2, numpy.float64([[-1, 2], [3, -4]]))
for _a, _b in [((2, 3), (2, 3)), ((3,), (2, 1)), ((), (2, 3))]:
    case("where", lambda xp, c, x, y: xp.where(c, x, y) ** 2, array([True, False, True], [False, False, True]), normal(*_a), normal(*_b))
case("where", lambda xp, x: xp.where(x > 0, x**2, 0.0), normal(2, 3))
case("where", lambda xp, x: xp.where(x > 0, 1.0, x**3), normal(2, 3))
for _axis, _down in [(-1, False), (0, True), (1, True)]:
    case("sort", lambda xp, x, a=_axis, d=_down: _sort(xp, x, a, d) ** 2, normal(4, 3))


def _sort(xp: Any, x: Any, axis: int, descending: bool) -> Any:
    if isinstance(x, Tensor):
        return xp.sort(x, axis=axis, descending=descending)
    rising = numpy.sort(x, axis=axis)
    return numpy.flip(rising, axis=axis) if descending else rising


# ---- products ----

for _a, _b in [
    ((3,), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (2, 3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
]:
    case("matmul", lambda xp, x, y: xp.matmul(x, y) ** 2, normal(*_a), normal(*_b))
case("matmul", lambda xp, x: x @ x @ x, normal(2, 2))
case("vecdot", lambda xp, x, y: xp.vecdot(x, y) ** 2, normal(2, 3), normal(2, 3))
case("vecdot", lambda xp, x, y: xp.vecdot(x, y), normal(2, 1, 3), normal(4, 3))
case("vecdot", lambda xp, x, y: xp.vecdot(x, y, axis=-2), normal(3, 2), normal(3, 2))
case("vecdot", lambda xp, x, y: xp.vecdot(x, y), normal(3), normal(3))
for _axes in (1, 2, ((1, 2), (0, 1)), ((2, 1), (1, 0)), ((-1, 0), (1, 2)), ((0, 1, 2), (2, 0, 1))):
    case(
        "tensordot",
        lambda xp, x, y, a=_axes: xp.tensordot(x, y, axes=a) ** 2,
        normal(2, 3, 2) if _axes == 1 else normal(2, 3, 3),
        normal(2, 4) if _axes == 1 else normal(3, 3, 2),
    )
case("tensordot", lambda xp, x, y: xp.tensordot(x, y, axes=0), normal(2), normal(3, 1))
case("tensordot", lambda xp, x, y: xp.tensordot(x, y, axes=1), normal(3), normal(3))

# ---- complex functions, as functions of real and imaginary parts ----


def to_complex(xp: Any, real: Any, imag: Any) -> Any:
    """A complex array with these real and imaginary parts."""
    return xp.astype(real, xp.complex128) + xp.astype(imag, xp.complex128) * 1j


def real_imag(xp: Any, z: Any) -> list[Any]:
    """The real and imaginary parts of a complex array."""
    return [xp.real(z), xp.imag(z)]


case("real", lambda xp, x, y: xp.real(to_complex(xp, x, y) ** 2), normal(2, 3), normal(2, 3))
case("imag", lambda xp, x, y: xp.imag(to_complex(xp, x, y) ** 2), normal(2, 3), normal(2, 3))
case("conj", lambda xp, x, y: real_imag(xp, xp.conj(to_complex(xp, x, y)) ** 2 * to_complex(xp, x, y)), normal(2, 3), normal(2, 3))
case("abs", lambda xp, x, y: xp.abs(to_complex(xp, x, y)), normal(2, 3), normal(2, 3))
case("sign", lambda xp, x, y: real_imag(xp, xp.sign(to_complex(xp, x, y))), normal(2, 3), normal(2, 3))
case(
    "vecdot",
    lambda xp, x, y, z: real_imag(xp, xp.vecdot(to_complex(xp, x, y), to_complex(xp, z, x))),
    normal(2, 3),
    normal(2, 3),
    normal(2, 3),
)
case("multiply", lambda xp, x, y: real_imag(xp, x * to_complex(xp, x, y)), normal(3), normal(3))  # a real and a complex array
for _base in (-2.0, 0.0, 1 - 2j):  # a negative base has a complex logarithm
    case("pow", lambda xp, x, y, b=_base: real_imag(xp, xp.pow(b, to_complex(xp, x, y))), uniform(1.2, 2, 3), uniform(0.1, 1, 3))
case("pow", lambda xp, x, y: real_imag(xp, xp.pow(x, to_complex(xp, y, y))), uniform(-2, -0.5, 3), uniform(0.5, 2, 3))

# ---- piecewise constant functions: results are integers or booleans, or the derivative is 0 ----

for _name in ("floor", "ceil", "round", "trunc", "isfinite", "isinf", "isnan", "signbit"):
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x), numpy.float64([-1.7, -0.3, 0.4, 1.2]))
for _name in ("floor_divide", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    case(_name, lambda xp, x, y, n=_name: getattr(xp, n)(x, y), numpy.float64([[-1.7, 2, 0.4]]), numpy.float64([[0.6], [2]]))
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x, 1.5), numpy.float64([[-1.7, 2, 1.5]]))
for _name in ("logical_and", "logical_or", "logical_xor"):
    case(_name, lambda xp, x, y, n=_name: getattr(xp, n)(x, y), array(True, True, False), array([True], [False]))
for _name in ("unique_all", "unique_counts", "unique_inverse"):
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x), numpy.float64([[2, 1], [2, 3]]))
case("unique_values", lambda xp, x: [xp.unique_values(x)], numpy.float64([[2, 1], [2, 3]]))
case("nextafter", lambda xp, x, y: [xp.nextafter(x, y)], normal(3), normal(3))
case("logical_not", lambda xp, x: xp.logical_not(x), array(True, False))
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"):
    case(_name, lambda xp, x, y, n=_name: getattr(xp, n)(x, y), array(1, 6, 12), array([1], [3]))
case("bitwise_invert", lambda xp, x: xp.bitwise_invert(x), array(0, 5, -7))
for _name in ("argmax", "argmin"):
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x), normal(2, 3))
    case(_name, lambda xp, x, n=_name: getattr(xp, n)(x, axis=1, keepdims=True), numpy.float64([[1, 3, 3], [2, 2, 5]]))
case("argsort", lambda xp, x: xp.argsort(x), normal(2, 3))
case("argsort", lambda xp, x: xp.argsort(x, axis=0, stable=True), numpy.float64([[2, 1], [1, 1], [2, 0]]))
case("nonzero", lambda xp, x: xp.nonzero(x), numpy.float64([[0, 1], [2, 0]]))
for _side in ("left", "right"):
    case("searchsorted", lambda xp, x, y, s=_side: xp.searchsorted(x, y, side=s), numpy.float64([1, 2, 2, 4]), numpy.float64([2, 0, 5]))
