"""Hypothesis strategies that draw calls of every differentiable function: shapes, arguments, and values away from kinks and poles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, mutually_broadcastable_shapes

from tests.array_api.cases import Case, real_imag, to_complex

Draw = Callable[[st.SearchStrategy[Any]], Any]

#: Strategies for `Case` objects by the name of the function; "linalg.inv" for an extension.
PROPERTIES: dict[str, st.SearchStrategy[Case]] = {}


def strategy_for(*names: str) -> Callable[[Callable[[Draw, str], Case]], None]:
    """Register the decorated function as the strategy for these functions."""

    def register(make: Callable[[Draw, str], Case]) -> None:
        for name in names:
            PROPERTIES[name] = st.composite(lambda draw, name: make(draw, name))(name)

    return register


def call(name: str, **options: Any) -> Callable[..., Any]:
    """The function with this name and these options; results are squared, so that second derivatives are not 0."""
    extension, _, plain = name.rpartition(".")

    def run(xp: Any, *arrays: Any) -> Any:
        out = getattr(getattr(xp, extension) if extension else xp, plain)(*arrays, **options)
        return [part * part for part in out] if isinstance(out, tuple | list) else out * out

    return run


def values(draw: Draw, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> Any:
    """Distinct numbers between two bounds, in C or Fortran memory order."""
    array = numpy.random.default_rng(draw(st.integers(0, 2**32))).uniform(low, high, shape)
    return numpy.array(array, order="F" if draw(st.booleans()) else "C")


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


def axis_of(draw: Draw, shape: tuple[int, ...]) -> int:
    return int(draw(st.integers(-len(shape), len(shape) - 1)))


def axes_of(draw: Draw, shape: tuple[int, ...]) -> Any:
    """One axis, several, or None for all."""
    ndim = len(shape)
    several = st.permutations(range(ndim)).flatmap(lambda order: st.integers(0, ndim).map(lambda n: tuple(order[:n])))
    return draw(st.none() | several | st.integers(-ndim, ndim - 1) if ndim else st.none() | several)


# ---- element-wise functions ----

UNARY = {
    **dict.fromkeys(["abs", "expm1", "exp", "negative", "positive", "sin", "sinh", "square", "asinh", "atan", "cos", "tanh"], (0.1, 2)),
    **dict.fromkeys(["log", "log10", "log2", "sqrt", "reciprocal", "cosh", "log1p", "sign"], (0.3, 3)),
    **dict.fromkeys(["acos", "asin", "atanh", "tan"], (-0.9, 0.9)),
    "acosh": (1.2, 3),
}
BINARY = {
    **dict.fromkeys(["add", "subtract", "multiply", "logaddexp"], ((-2, 2), (-2, 2))),
    **dict.fromkeys(["maximum", "minimum"], ((-2, 2), (-1.9, 2.1))),  # no ties, even if the same numbers are drawn
    **dict.fromkeys(["atan2", "divide", "pow"], ((0.5, 2), (0.5, 2))),
    **dict.fromkeys(["copysign", "hypot"], ((0.5, 2), (-2, -0.5))),
    "remainder": ((3.1, 3.9), (0.8, 0.9)),
}

#: Functions that do not accept complex numbers, or whose strategies draw complex numbers already.
NOT_COMPLEX = {
    *("atan2", "clip", "copysign", "hypot", "logaddexp", "maximum", "minimum", "remainder", "max", "min", "sort"),  # require an order
    *("astype", "real", "imag", "conj", *[f"fft.{name}" for name in ("rfft", "rfftn", "ihfft", "fft", "ifft", "irfft", "hfft")]),
    *[f"fft.{name}" for name in ("fftn", "ifftn", "irfftn")],
    *[f"linalg.{name}" for name in ("cholesky", "eigh", "eigvalsh")],  # Hermitian matrices: see the table of calls
    *[f"linalg.{name}" for name in ("qr", "svd")],  # arbitrary phases: see the table of calls
}


@strategy_for(*UNARY)
def unary(draw: Draw, name: str) -> Case:
    shape = draw(shapes())
    return Case(name, call(name), (values(draw, shape, *UNARY[name]),))


@strategy_for(*BINARY)
def binary(draw: Draw, name: str) -> Case:
    pair = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3)).input_shapes
    left, right = [values(draw, shape, *bounds) for shape, bounds in zip(pair, BINARY[name], strict=True)]
    which = draw(st.sampled_from(["both", "number first", "number second"]))
    if which == "number first":
        return Case(name, lambda xp, y: call(name)(xp, float(numpy.mean(BINARY[name][0])) + 0.05, y), (right,))
    if which == "number second":
        return Case(name, lambda xp, x: call(name)(xp, x, float(numpy.mean(BINARY[name][1])) + 0.02), (left,))
    return Case(name, call(name), (left, right))


@strategy_for("real", "imag", "conj")
def complex_parts(draw: Draw, name: str) -> Case:
    shape = draw(shapes())
    arrays = (values(draw, shape), values(draw, shape))
    return Case(name, lambda xp, x, y: real_imag(xp, getattr(xp, name)(to_complex(xp, x, y) ** 2) * to_complex(xp, y, x)), arrays)


@strategy_for("clip")
def clip(draw: Draw, name: str) -> Case:
    x = values(draw, draw(shapes()), -3, 3)
    low, high = draw(st.none() | st.just(-1.0)), draw(st.none() | st.just(1.5))
    return Case(name, call(name, min=low, max=high), (x,))


@strategy_for("astype")
def astype(draw: Draw, name: str) -> Case:
    copy = draw(st.booleans())
    return Case(name, lambda xp, x: xp.astype(x, xp.float64, copy=copy) ** 2, (values(draw, draw(shapes())),))


@strategy_for("where")
def where(draw: Draw, name: str) -> Case:
    pair = draw(mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3)).input_shapes
    return Case(name, lambda xp, c, x, y: xp.where(c, x, y) ** 2, (values(draw, pair[0]) > 0, values(draw, pair[1]), values(draw, pair[2])))


# ---- reductions and cumulative functions ----


@strategy_for("sum", "prod", "mean", "var", "std", "max", "min")
def reduction(draw: Draw, name: str) -> Case:
    needs_elements = name not in ("sum", "prod")
    shape = draw(shapes(min_side=1 if needs_elements else 0))
    options: dict[str, Any] = {"axis": axes_of(draw, shape), "keepdims": draw(st.booleans())}
    x = values(draw, shape, 0.5, 2)
    if name in ("var", "std"):
        axes = range(len(shape)) if options["axis"] is None else numpy.atleast_1d(options["axis"])
        size = math.prod(shape[a] for a in axes)
        options["correction"] = draw(st.sampled_from([0, 1, 0.5])) if size > 1 else 0
    return Case(name, call(name, **options), (x,))


@strategy_for("cumulative_sum", "cumulative_prod")
def cumulative(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1))
    x = values(draw, shape)
    if draw(st.booleans()):  # with zeros, dividing a product by an element would fail
        x = numpy.where(values(draw, shape) > 0.5, 0.0, x)
    return Case(name, call(name, axis=axis_of(draw, shape), include_initial=draw(st.booleans())), (x,))


@strategy_for("diff")
def diff(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    return Case(name, call(name, axis=axis_of(draw, shape), n=draw(st.integers(0, 2))), (values(draw, shape),))


# ---- manipulation ----


@strategy_for("permute_dims")
def permute_dims(draw: Draw, name: str) -> Case:
    shape = draw(shapes())
    return Case(name, call(name, axes=tuple(draw(st.permutations(range(len(shape)))))), (values(draw, shape),))


@strategy_for("reshape")
def reshape(draw: Draw, name: str) -> Case:
    shape = draw(shapes())
    size = math.prod(shape)
    return Case(
        name, call(name, shape=draw(st.sampled_from([(size,), (-1,) if size else (size,), (1, size), (size, 1)]))), (values(draw, shape),)
    )


@strategy_for("matrix_transpose", "linalg.matrix_transpose", "tril", "triu", "linalg.diagonal", "linalg.trace")
def triangle_or_diagonal(draw: Draw, name: str) -> Case:
    options = {"k": draw(st.integers(-3, 3))} if name in ("tril", "triu") else {}
    if name in ("linalg.diagonal", "linalg.trace"):
        options = {"offset": draw(st.integers(-1, 1))}
    return Case(name, call(name, **options), (values(draw, draw(shapes(min_dims=2, max_dims=4, min_side=1))),))


@strategy_for("moveaxis")
def moveaxis(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1))
    source, target = axis_of(draw, shape), axis_of(draw, shape)
    return Case(name, lambda xp, x: xp.moveaxis(x, source, target) ** 2, (values(draw, shape),))


@strategy_for("expand_dims", "squeeze")
def unit_axis(draw: Draw, name: str) -> Case:
    shape = draw(shapes(max_dims=2))
    axis = draw(st.integers(0, len(shape)))
    if name == "squeeze":
        shape = (*shape[:axis], 1, *shape[axis:])
    return Case(name, call(name, axis=axis), (values(draw, shape),))


@strategy_for("broadcast_to", "broadcast_arrays")
def broadcast(draw: Draw, name: str) -> Case:
    pair = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3))
    if name == "broadcast_arrays":
        return Case(name, call(name), tuple(values(draw, shape) for shape in pair.input_shapes))
    return Case(name, call(name, shape=pair.result_shape), (values(draw, pair.input_shapes[0]),))


@strategy_for("flip", "fft.fftshift", "fft.ifftshift")
def flip_or_shift(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1))
    return Case(name, call(name, **{"axis" if name == "flip" else "axes": axes_of(draw, shape)}), (values(draw, shape),))


@strategy_for("roll")
def roll(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.none() | st.just(axis_of(draw, shape)))
    by = draw(st.integers(-4, 4))
    return Case(name, lambda xp, x: xp.roll(x, by, axis=axis) ** 2, (values(draw, shape),))


@strategy_for("repeat")
def repeat(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.just(axis_of(draw, shape)))
    length = math.prod(shape) if axis is None else shape[axis]
    if draw(st.booleans()):
        count = draw(st.integers(0, 3))
        return Case(name, lambda xp, x: xp.repeat(x, count, axis=axis) ** 2, (values(draw, shape),))
    times = numpy.asarray(draw(st.lists(st.integers(0, 3), min_size=length, max_size=length)))
    return Case(name, lambda xp, x, n: xp.repeat(x, n, axis=axis) ** 2, (values(draw, shape), times))


@strategy_for("tile")
def tile(draw: Draw, name: str) -> Case:
    times = draw(shapes(min_dims=1))
    return Case(name, lambda xp, x: xp.tile(x, times) ** 2, (values(draw, draw(shapes())),))


@strategy_for("concat", "stack")
def concat_or_stack(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = axis_of(draw, shape)
    others = [shape, shape]
    if name == "concat":
        others = [tuple(draw(st.integers(0, 3)) if i == axis % len(shape) else n for i, n in enumerate(shape)) for _ in range(2)]
        axis = draw(st.none() | st.just(axis))
    arrays = [values(draw, each) for each in [shape, *others]]
    return Case(name, lambda xp, *parts: getattr(xp, name)(parts, axis=axis) ** 2, tuple(arrays))


@strategy_for("unstack")
def unstack(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    return Case(name, call(name, axis=axis_of(draw, shape)), (values(draw, shape),))


@strategy_for("meshgrid")
def meshgrid(draw: Draw, name: str) -> Case:
    lengths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return Case(name, call(name, indexing=draw(st.sampled_from(["xy", "ij"]))), tuple(values(draw, (n,)) for n in lengths))


# ---- indexing, assignment, sorting ----


@strategy_for("take", "take_along_axis")
def take(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = axis_of(draw, shape)
    length = shape[axis]
    count = draw(st.integers(0, 4))
    wanted = (count,) if name == "take" else tuple(count if i == axis % len(shape) else n for i, n in enumerate(shape))
    indices = numpy.random.default_rng(draw(st.integers(0, 2**32))).integers(-length, length, wanted)
    return Case(name, lambda xp, x, i: getattr(xp, name)(x, i, axis=axis) ** 2, (values(draw, shape), indices))


def keys(draw: Draw, shape: tuple[int, ...], kinds: list[str]) -> Any:
    """A key of integers, slices, ellipses and (for reading only) new axes, or a mask, or an integer array for each axis."""
    kind = draw(st.sampled_from(kinds))
    if kind == "basic" or not shape:
        return draw(basic_indices(shape, allow_newaxis="integers" in kinds))
    if kind == "mask":
        return values(draw, shape[: draw(st.integers(1, len(shape)))]) > 0
    count = draw(st.integers(0, 4))
    random = numpy.random.default_rng(draw(st.integers(0, 2**32)))
    return tuple(random.integers(-n, n, (count,)) for n in shape)


def with_tensors(xp: Any, key: Any) -> Any:
    """A key with its arrays converted to Tensors."""
    if isinstance(key, tuple):
        return tuple(with_tensors(xp, part) for part in key)
    return xp.asarray(key) if isinstance(key, numpy.ndarray) else key


@strategy_for("getitem")
def getitem(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_side=1))
    key = keys(draw, shape, ["basic", "mask", "integers"])
    return Case(name, lambda xp, x: x[with_tensors(xp, key)] ** 2, (values(draw, shape),))


@strategy_for("setitem")
def setitem(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_side=1))
    key = keys(draw, shape, ["basic", "mask"])
    x = values(draw, shape)

    def replaced(xp: Any, x: Any, v: Any) -> Any:
        y = xp.astype(x, xp.result_type(x, v))
        y[with_tensors(xp, key)] = v
        return y**2

    full_value = draw(st.booleans()) and not isinstance(key, numpy.ndarray)
    return Case(name, replaced, (x, values(draw, x[key].shape if full_value else ())))


@strategy_for("sort")
def sort(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    return Case(name, call(name, axis=axis_of(draw, shape), descending=draw(st.booleans())), (values(draw, shape),))


# ---- products ----


@strategy_for("matmul", "linalg.matmul")
def matmul(draw: Draw, name: str) -> Case:
    rows, inner, columns = draw(st.tuples(*[st.integers(1, 3)] * 3))
    batch = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3)).input_shapes
    left, right = (*batch[0], rows, inner), (*batch[1], inner, columns)
    if draw(st.booleans()):
        left = (inner,)
    elif draw(st.booleans()):
        right = (inner,)
    return Case(name, call(name), (values(draw, left), values(draw, right)))


@strategy_for("tensordot", "linalg.tensordot")
def tensordot(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_side=1))
    count = draw(st.integers(0, len(shape)))
    other = (*shape[len(shape) - count :], *draw(shapes(max_dims=2, min_side=1)))
    return Case(name, call(name, axes=count), (values(draw, shape), values(draw, other)))


@strategy_for("vecdot", "linalg.vecdot")
def vecdot(draw: Draw, name: str) -> Case:
    pair = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3)).input_shapes
    length = draw(st.integers(1, 3))
    return Case(name, call(name), tuple(values(draw, (*shape, length)) for shape in pair))


@strategy_for("linalg.outer")
def outer(draw: Draw, name: str) -> Case:
    return Case(name, call(name), (values(draw, draw(shapes(1, 1))), values(draw, draw(shapes(1, 1)))))


@strategy_for("linalg.cross")
def cross(draw: Draw, name: str) -> Case:
    pair = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3)).input_shapes
    return Case(name, call(name), tuple(values(draw, (*shape, 3)) for shape in pair))


# ---- linear algebra: matrices with well-separated singular values ----


def matrices(draw: Draw, rows: int, columns: int, batch: tuple[int, ...]) -> Any:
    """Matrices with singular values close to 1, 2, 3, ..."""
    random = numpy.random.default_rng(draw(st.integers(0, 2**32)))
    size = min(rows, columns)
    left = numpy.linalg.qr(random.normal(size=(*batch, rows, rows)))[0][..., :size]
    right = numpy.linalg.qr(random.normal(size=(*batch, columns, columns)))[0][..., :size]
    return left * (numpy.arange(1, size + 1) + random.uniform(0, 0.3, size)) @ numpy.swapaxes(right, -1, -2)


def symmetric(xp: Any, x: Any) -> Any:
    """A symmetric matrix whose eigenvalues, the squares of the singular values of x, are well separated."""
    return xp.matmul(x, xp.matrix_transpose(x))


@strategy_for(*[f"linalg.{name}" for name in ("cholesky", "det", "eigh", "eigvalsh", "inv", "matrix_power", "slogdet", "solve")])
def square_matrix_function(draw: Draw, name: str) -> Case:
    size, batch = draw(st.integers(1, 3)), draw(shapes(max_dims=1, max_side=2))
    x = matrices(draw, size, size, batch)
    if name == "linalg.matrix_power":
        n = draw(st.integers(-2, 3))
        return Case(name, lambda xp, x: xp.linalg.matrix_power(x, n), (x,))
    if name == "linalg.solve":
        right = draw(st.sampled_from([(size,), (size, 2), (*batch, size, 2)]))
        return Case(name, call(name), (x, values(draw, right)))
    if name in ("linalg.cholesky", "linalg.eigh", "linalg.eigvalsh"):
        options = {"upper": draw(st.booleans())} if name == "linalg.cholesky" else {}
        return Case(name, lambda xp, x: call(name, **options)(xp, symmetric(xp, x)), (x,))
    return Case(name, call(name), (x,))


@strategy_for(*[f"linalg.{name}" for name in ("matrix_norm", "pinv", "qr", "svd", "svdvals")])
def matrix_function(draw: Draw, name: str) -> Case:
    rows, columns, batch = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(shapes(max_dims=1, max_side=2))
    x = matrices(draw, rows, columns, batch)
    options: dict[str, Any] = {}
    if name == "linalg.matrix_norm":
        options = {"ord": draw(st.sampled_from(["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])), "keepdims": draw(st.booleans())}
    elif name == "linalg.svd":
        options = {"full_matrices": rows == columns and draw(st.booleans())}
    elif name == "linalg.qr":
        options = {"mode": "complete" if rows <= columns and draw(st.booleans()) else "reduced"}
    return Case(name, call(name, **options), (x,))


@strategy_for("linalg.vector_norm")
def vector_norm(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    options = {"ord": draw(st.sampled_from([0, 1, 2, 3, 0.5, -1, math.inf, -math.inf])), "axis": axes_of(draw, shape)}
    if options["axis"] == ():
        options["axis"] = None
    return Case(name, call(name, keepdims=draw(st.booleans()), **options), (values(draw, shape, 0.3, 2),))


# ---- Fourier transforms ----

_NORMS = st.sampled_from(["backward", "ortho", "forward"])


@strategy_for(*[f"fft.{name}" for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")])
def fourier(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=2, max_side=5, max_dims=2))
    options = {"n": draw(st.none() | st.integers(2, 6)), "axis": axis_of(draw, shape), "norm": draw(_NORMS)}
    return _fourier(draw, name, shape, options)


@strategy_for(*[f"fft.{name}" for name in ("fftn", "ifftn", "rfftn", "irfftn")])
def fourier_n(draw: Draw, name: str) -> Case:
    shape = draw(shapes(min_dims=1, min_side=2, max_side=4, max_dims=3))
    axes = tuple(draw(st.permutations(range(len(shape)))))[: draw(st.integers(1, len(shape)))]
    lengths = draw(st.none() | st.just(tuple(draw(st.integers(2, 5)) for _ in axes)))
    return _fourier(draw, name, shape, {"s": lengths, "axes": axes, "norm": draw(_NORMS)})


def _fourier(draw: Draw, name: str, shape: tuple[int, ...], options: dict[str, Any]) -> Case:
    """A transform with real or complex input and output."""
    plain = name.removeprefix("fft.")
    from_real, to_real = plain in ("rfft", "ihfft", "rfftn"), plain in ("irfft", "hfft", "irfftn")

    def run(xp: Any, x: Any, y: Any = None) -> Any:
        out = getattr(xp.fft, plain)(x if from_real else to_complex(xp, x, y), **options)
        return out**2 if to_real else real_imag(xp, out**2)

    arrays = (values(draw, shape),) if from_real else (values(draw, shape), values(draw, shape))
    return Case(name, run, arrays)
