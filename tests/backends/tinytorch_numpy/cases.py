"""Test cases for every numpy kernel, memory layouts of their inputs, and the comparison of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy
import pytest

from tinytorch_numpy import compiled
from tinytorch_numpy.kernels import KERNELS
from tinytorch_numpy.kernels.support import CHUNK

Array = Any
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DIFFERENTIABLE = sorted(name for name, kernel in KERNELS.items() if kernel.backward is not None)

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed: pip install 'tinytorch-xp[fast]'")


def numpy_and_compiled(names: Iterable[str]) -> list[Any]:
    """Parameters (name, kernel): numpy's kernel of each operation, and the compiled one if there is one."""
    plain = [pytest.param(name, KERNELS[name], id=name) for name in names]
    return plain + [
        pytest.param(name, compiled.KERNELS[name], id=f"{name}-compiled", marks=needs_numba) for name in names if name in compiled.KERNELS
    ]


@dataclass
class Case:
    """One call: its arrays, its settings, and how many arrays have a gradient (the first ones)."""

    arrays: list[Any]
    settings: dict[str, Any]
    gradients: int = 1


class Draw:
    """Draws random arrays of one dtype."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.generator = numpy.random.default_rng(7)

    def __call__(self, *shape: int) -> Array:
        return numpy.asarray(self.generator.standard_normal(shape), dtype=self.dtype)

    def ids(self, below: int, *shape: int) -> Array:
        return self.generator.integers(0, below, shape)


KEY = numpy.asarray([12345, 678], dtype=numpy.int32)


def linear_cases(draw: Draw) -> list[Case]:
    shapes = [((2, 3, 5), 7), ((1, 5), 1), ((5,), 3), ((0, 5), 3), ((2, 0, 5), 3), ((33, 17), 19)]
    with_bias = [Case([draw(*shape), draw(out, shape[-1]), draw(out)], {}, 3) for shape, out in shapes]
    return [*with_bias, Case([draw(4, 5), draw(3, 5), None], {}, 2)]


def layer_norm_cases(draw: Draw) -> list[Case]:
    shapes = [(2, 3, 7), (1, 1), (5,), (0, 5), (1, 33), (CHUNK // 64 + 3, 64)]
    cases = [Case([draw(*shape), draw(shape[-1]), draw(shape[-1])], {"eps": 1e-5}, 3) for shape in shapes]
    cases += [Case([draw(*shape), draw(shape[-1]), None], {"eps": 1e-5}, 2) for shape in shapes]
    return [*cases, Case([100.0 + draw(4, 65), draw(65), draw(65)], {"eps": 1e-5}, 3)]


def gelu_cases(draw: Draw) -> list[Case]:
    arrays = [draw(2, 3, 5), draw(1), draw(), draw(0, 4), 20.0 * draw(40), draw(CHUNK + 3), numpy.zeros(3, draw.dtype)]
    kinds = ["tanh", "none"] if draw.dtype == "float32" else ["tanh"]
    return [Case([x], {"approximate": kind}) for kind in kinds for x in arrays]


def embedding_cases(draw: Draw) -> list[Case]:
    shapes = [(3, 4), (1,), (), (0,), (2, 3, 4), (50,)]
    return [Case([draw(7, 5), draw.ids(7, *shape)], {}) for shape in shapes] + [Case([draw(300, 3), draw.ids(300, 40)], {})]


def cross_entropy_cases(draw: Draw) -> list[Case]:
    settings = {"ignore_index": -100, "label_smoothing": 0.0}
    sizes = [(5, 7), (1, 3), (4, 1), (CHUNK // 65 + 3, 65)]
    cases = [Case([draw(n, v), draw.ids(v, n)], settings) for n, v in sizes]
    return [
        *cases,
        Case([draw(4, 5), numpy.asarray([0, -100, 4, -100])], settings),
        Case([1000.0 * draw(4, 5), draw.ids(5, 4).astype(numpy.int32)], settings),
    ]


def dropout_cases(draw: Draw) -> list[Case]:
    arrays = [draw(2, 3, 5), draw(1), draw(), draw(0, 3), draw(CHUNK + 5), draw(2, CHUNK // 2, 3)]
    cases = [Case([x, KEY], {"p": p, "site": site}) for x in arrays for p, site in ((0.0, 0), (0.1, 3), (0.9, 2**31 - 1))]
    return [*cases, Case([arrays[0], KEY], {"p": 0.3, "site": 1, "first": CHUNK - 7})]


def attention_cases(draw: Draw) -> list[Case]:
    cases = []
    for batch, queries, keys, heads, width in [
        (2, 5, 5, 2, 6),
        (1, 1, 9, 1, 3),
        (2, 3, 8, 3, 3),
        (1, 150, 290, 2, 8),
        (5, 130, 130, 1, 4),
        (3, 1, 20, 2, 6),
    ]:
        arrays = [draw(batch, queries, width), draw(batch, keys, width), draw(batch, keys, width)]
        for causal in (False, True):
            settings = {"num_heads": heads, "causal": causal, "site": 5}
            cases.append(Case([*arrays, None, None], settings | {"p": 0.0}, 3))
            cases.append(Case([*arrays, None, KEY], settings | {"p": 0.3}, 3))
            cases.append(Case([*arrays, None, KEY], settings | {"p": 0.3, "first": 1000}, 3))
            cases.append(Case([*arrays, None, KEY], settings | {"p": 0.3, "first": 2**32 - 20}, 3))
            mask = draw.generator.random((batch, 1, 1, keys)) < 0.7
            mask[..., 0] = True
            cases.append(Case([*arrays, mask, KEY], settings | {"p": 0.2}, 3))
    more_queries = [draw(2, 7, 4), draw(2, 3, 4), draw(2, 3, 4), None, None]
    wide_values = [draw(2, 3, 4), draw(2, 5, 4), draw(2, 5, 10), None, None]
    some_rows = draw.generator.random((4, 6)) < 0.5
    some_rows[2] = False  # fully masked
    masked_rows = [draw(2, 4, 6), draw(2, 6, 6), draw(2, 6, 6), some_rows, None]
    large_scores = [10.0 * draw(2, 9, 6), 10.0 * draw(2, 9, 6), draw(2, 9, 6), None, None]
    for arrays in (more_queries, wide_values, masked_rows, large_scores):
        cases += [Case(arrays, {"num_heads": 2, "causal": causal, "p": 0.0, "site": 0}, 3) for causal in (False, True)]
    return cases


def packed_attention_cases(draw: Draw) -> list[Case]:
    cases = []
    for batch, length, heads, width in [(2, 5, 2, 6), (1, 1, 1, 3), (3, 65, 4, 8), (1, 300, 2, 6), (3, 140, 3, 12)]:
        qkv = draw(batch, length, 3 * width)
        for causal in (False, True):
            settings = {"num_heads": heads, "causal": causal, "site": 1}
            cases.append(Case([qkv, None, None], settings | {"p": 0.0}))
            cases.append(Case([qkv, None, KEY], settings | {"p": 0.5}))
    cases.append(Case([6.0 * draw(2, 140, 12), None, None], {"num_heads": 2, "causal": True, "p": 0.0, "site": 0}))
    return cases


#: Image size, window size, stride and padding.
WINDOWS = [
    ((7, 6), (3, 2), (1, 1), (0, 0)),
    ((8, 8), (2, 2), (2, 2), (0, 0)),
    ((12, 9), (5, 5), (1, 1), (2, 2)),
    ((9, 7), (3, 3), (2, 3), (1, 0)),
    ((5, 8), (1, 2), (3, 2), (0, 1)),
    ((4, 4), (4, 4), (1, 1), (0, 0)),
]


def conv2d_cases(draw: Draw) -> list[Case]:
    cases = []
    for size, kernel, stride, padding in WINDOWS:
        settings = {"stride": stride, "padding": padding}
        for count, channels, filters in [(2, 3, 4), (1, 1, 1), (19, 2, 30)]:
            arrays = [draw(count, channels, *size), draw(filters, channels, *kernel), draw(filters)]
            cases.append(Case(arrays, settings, 3))
    unbiased, empty = cases[0].arrays[:2], draw(0, 3, 7, 6)
    return [*cases, Case([*unbiased, None], cases[0].settings, 2), Case([empty, *cases[0].arrays[1:]], cases[0].settings, 3)]


def pool_cases(draw: Draw) -> list[Case]:
    cases = []
    for size, kernel, stride, padding in WINDOWS:
        pads = (min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2))
        settings = {"kernel_size": kernel, "stride": stride, "padding": pads}
        cases += [Case([x], settings) for x in (draw(2, 3, *size), draw(1, 1, *size), numpy.zeros((3, 1, *size), draw.dtype))]
    return [*cases, Case([draw(0, 3, *WINDOWS[0][0])], cases[0].settings)]


def relu_cases(draw: Draw) -> list[Case]:
    return [Case([x], {}) for x in (draw(2, 3, 5), draw(1), draw(), draw(0, 4), numpy.zeros(3, draw.dtype))]


def update_arrays(draw: Draw, slots: int) -> list[Any]:
    shapes = [(3, 5), (7,), (), (1, 1), (CHUNK + 3,)]
    state = [[numpy.asarray(numpy.abs(draw(*shape))) for shape in shapes] for _ in range(slots)]
    return [[draw(*shape) for shape in shapes], [draw(*shape) for shape in shapes], *state]


def adam_cases(draw: Draw) -> list[Case]:
    settings = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decays": [0.1, 0.0, 0.2, 0.0, 0.1], "decoupled": True, "max_norm": None}
    changes: list[dict[str, Any]] = [{}, {"decoupled": False}, {"max_norm": 0.5}, {"max_norm": 1e9}, {"betas": (0.0, 0.9)}]
    cases = []
    for change in changes:
        lr, step = numpy.asarray(0.01, dtype=draw.dtype), numpy.asarray(3, dtype=numpy.int32)
        cases.append(Case([*update_arrays(draw, 2), lr, step], settings | change, 0))
    return cases


def sgd_cases(draw: Draw) -> list[Case]:
    settings = {"momentum": 0.9, "nesterov": False, "weight_decays": [0.1, 0.0, 0.2, 0.0, 0.1], "max_norm": None}
    changes: list[dict[str, Any]] = [{}, {"nesterov": True}, {"max_norm": 0.5}, {"momentum": 0.0}]
    cases = []
    for change in changes:
        arrays = update_arrays(draw, 1) if change.get("momentum", 0.9) else [*update_arrays(draw, 0), []]
        cases.append(Case([*arrays, numpy.asarray(0.01, dtype=draw.dtype)], settings | change, 0))
    return cases


def append_rows_cases(draw: Draw) -> list[Case]:
    sizes = [(2, 7, 3, 2, 4), (1, 4, 5, 1, 0), (1, 4, 5, 4, 0), (0, 4, 5, 2, 1), (2, 6, 1, 0, 3)]  # B, S, C, T, at
    return [Case([draw(b, s, c), draw(b, t, c)], {"at": at}, 0) for b, s, c, t, at in sizes]


#: Indices of donated arguments. All other arguments keep their values.
DONATED = {"adam": {2, 3}, "sgd": {2}, "append_rows": {0}}

CASES: dict[str, Callable[[Draw], list[Case]]] = {
    "adam": adam_cases,
    "append_rows": append_rows_cases,
    "attention": attention_cases,
    "avg_pool2d": pool_cases,
    "conv2d": conv2d_cases,
    "cross_entropy": cross_entropy_cases,
    "dropout": dropout_cases,
    "embedding": embedding_cases,
    "gelu": gelu_cases,
    "layer_norm": layer_norm_cases,
    "linear": linear_cases,
    "max_pool2d": pool_cases,
    "packed_attention": packed_attention_cases,
    "relu": relu_cases,
    "sgd": sgd_cases,
}


def every_second(x: Array) -> Array:
    strided = numpy.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), x.dtype)
    view = strided[..., ::2] if x.ndim else strided[0:1].reshape(())
    view[...] = x
    return view


def fortran_order(x: Array) -> Array:
    return numpy.asfortranarray(x) if x.ndim else x  # asfortranarray makes a 0-d array 1-d


def read_only(x: Array) -> Array:
    x = x.copy()
    x.setflags(write=False)
    return x


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda x: x,
    "every_second": every_second,
    "fortran_order": fortran_order,
    "read_only": read_only,
}


def map_arrays(value: Any, change: Callable[[Array], Array]) -> Any:
    """Apply ``change`` to every array, including those in lists."""
    if isinstance(value, list):
        return [map_arrays(item, change) for item in value]
    return value if value is None else change(value)


def assert_equal(actual: Any, expected: Any, tolerance: float) -> None:
    if expected is None:
        return
    if isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_equal(a, e, tolerance)
        return
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    size = float(numpy.max(numpy.abs(expected), initial=1e-3))
    numpy.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size)
