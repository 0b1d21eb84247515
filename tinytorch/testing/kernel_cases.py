"""Calls of every fused operation that a backend may override, with sizes that are not multiples of blocks, warps and vectors.

The only table of such calls: the tests of the shipped kernels and `check_kernel` use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy

HostArray: TypeAlias = Any  #: a numpy array, a list of them for an optimizer, or None for an optional operand

KEY: Final = numpy.asarray([12345, 678], dtype=numpy.int32)


@dataclass
class Case:
    """One call of a fused operation.

    Attributes:
        arrays: operands on the host: arrays, lists of arrays, or None.
        settings: the settings.
        gradients: number of leading arrays that are differentiated.
    """

    arrays: list[HostArray]
    settings: dict[str, Any] = field(default_factory=dict)
    gradients: int = 1


class Draw:
    """Draws random arrays; the same ones for every instance with the same dtype."""

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = dtype
        self.generator = numpy.random.default_rng(7)

    def __call__(self, *shape: int) -> Any:
        return numpy.asarray(self.generator.standard_normal(shape), dtype=self.dtype)

    def ids(self, below: int, *shape: int) -> Any:
        """Random integers from 0 to ``below - 1``."""
        return self.generator.integers(0, below, shape)


def linear_cases(draw: Draw) -> list[Case]:
    """Vectors, matrices and batches, with and without a bias."""
    shapes = [((2, 3, 5), 7), ((1, 5), 1), ((5,), 3), ((0, 5), 3), ((2, 0, 5), 3), ((33, 17), 19)]
    cases = [Case([draw(*shape), draw(out, shape[-1]), draw(out)], {}, 3) for shape, out in shapes]
    return [*cases, Case([draw(4, 5), draw(3, 5), None], {}, 2)]


def layer_norm_cases(draw: Draw) -> list[Case]:
    """Rows of one element, of a warp and one, and of many warps; means far from zero."""
    shapes = [(2, 3, 7), (1, 1), (5,), (0, 5), (1, 33), (9, 33), (3, 136), (70, 40), (333, 101)]
    cases = [Case([draw(*shape), draw(shape[-1]), draw(shape[-1])], {"eps": 1e-5}, 3) for shape in shapes]
    return [*cases, Case([10.0 + draw(4, 65), draw(65), draw(65)], {"eps": 0.1}, 3)]


def gelu_cases(draw: Draw) -> list[Case]:
    """Small and large arguments, and arrays of one, of no and of many elements."""
    special = numpy.asarray([0, -0.0, 1e-3, -6, 6, 30, -30], dtype=draw.dtype)
    arrays = [draw(2, 3, 5), draw(1), draw(), draw(0, 4), 3.0 * draw(40), draw(5001), draw(3, 11003), special]
    # the portable version of the exact form approximates erf to 4e-7, so that implementations differ in float64
    forms = ["tanh"] if draw.dtype == "float64" else ["tanh", "none"]
    return [Case([x], {"approximate": form}) for form in forms for x in arrays]


def relu_cases(draw: Draw) -> list[Case]:
    """Zero, and arrays of one, of no and of many elements."""
    return [Case([x]) for x in (draw(2, 3, 5), draw(1), draw(), draw(0, 4), draw(5001), numpy.zeros(3, draw.dtype))]


def dropout_cases(draw: Draw) -> list[Case]:
    """No, few and most elements dropped; call sites and offsets at the ends of their range."""
    arrays = [draw(2, 3, 5), draw(1), draw(), draw(0, 3), draw(3001), draw(3, 11003)]
    cases = [Case([x, KEY], {"p": p, "site": site}) for x in arrays for p, site in ((0.0, 0), (0.1, 3), (0.9, 2**31 - 1))]
    return [*cases, Case([arrays[0], KEY], {"p": 0.3, "site": 1, "first": 2**32 - 7})]


def cross_entropy_cases(draw: Draw) -> list[Case]:
    """One class to many, ignored targets, large logits, both integer dtypes."""
    cases = []
    for smoothing in (0.0, 0.1):
        settings = {"ignore_index": -100, "label_smoothing": smoothing}
        sizes = [(5, 7), (1, 3), (4, 1), (3, 65), (2, 1031), (3, 6001)]
        cases += [Case([draw(n, v), draw.ids(v, n)], settings) for n, v in sizes]
        cases.append(Case([draw(4, 5), numpy.asarray([0, -100, 4, -100])], settings))
        cases.append(Case([30.0 * draw(4, 5), draw.ids(5, 4).astype(numpy.int32)], settings))
    return [*cases, Case([draw(5, 5), numpy.asarray([0, 4, 2, 2, 1])], {"ignore_index": 2, "label_smoothing": 0.0})]


def embedding_cases(draw: Draw) -> list[Case]:
    """Ids of every rank, repeated ids, and long tables."""
    shapes = [(3, 4), (1,), (), (0,), (2, 3, 4), (50,)]
    cases = [Case([draw(7, 5), draw.ids(7, *shape)]) for shape in shapes]
    repeated = numpy.where(draw.generator.random(700) < 0.6, 17, draw.ids(300, 700)).astype(numpy.int32)  # one id over many blocks
    return [*cases, Case([draw(300, 3), draw.ids(300, 40)]), Case([draw(300, 3), repeated]), Case([draw(5000, 130), draw.ids(5000, 90)])]


def attention_cases(draw: Draw) -> list[Case]:
    """Several tiles, few queries, more keys than queries and fewer, masks, dropout, head dimensions that are no power of two."""
    cases = []
    for batch, queries, keys, heads, width in [
        (2, 5, 5, 2, 6),
        (1, 1, 9, 1, 3),
        (2, 3, 8, 3, 3),
        (1, 65, 130, 1, 64),
        (1, 40, 40, 2, 160),
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
    large_scores = [4.0 * draw(2, 9, 6), 4.0 * draw(2, 9, 6), draw(2, 9, 6), None, None]
    for arrays in (more_queries, wide_values, masked_rows, large_scores):
        cases += [Case(arrays, {"num_heads": 2, "causal": causal, "p": 0.0, "site": 0}, 3) for causal in (False, True)]
    return cases


def packed_attention_cases(draw: Draw) -> list[Case]:
    """As `attention_cases`, with queries, keys and values in one array."""
    cases = []
    for batch, length, heads, width in [(2, 5, 2, 6), (1, 1, 1, 3), (3, 65, 4, 8), (1, 300, 2, 6), (3, 140, 3, 12), (2, 67, 2, 84)]:
        qkv = draw(batch, length, 3 * width)
        for causal in (False, True):
            settings = {"num_heads": heads, "causal": causal, "site": 1}
            cases.append(Case([qkv, None, None], settings | {"p": 0.0}))
            cases.append(Case([qkv, None, KEY], settings | {"p": 0.5}))
    cases.append(Case([3.0 * draw(2, 140, 12), None, None], {"num_heads": 2, "causal": True, "p": 0.0, "site": 0}))
    return cases


#: Image size, window size, stride and padding: overlapping, adjacent and separated windows, some incomplete at the border.
WINDOWS: Final = [
    ((7, 6), (3, 2), (1, 1), (0, 0)),
    ((8, 8), (2, 2), (2, 2), (0, 0)),
    ((12, 9), (5, 5), (1, 1), (2, 2)),
    ((9, 7), (3, 3), (2, 3), (1, 0)),
    ((5, 8), (1, 2), (3, 2), (0, 1)),
    ((4, 4), (4, 4), (1, 1), (0, 0)),
]


def conv2d_cases(draw: Draw) -> list[Case]:
    """Several channels and one; without a bias; without images."""
    cases = []
    for size, kernel, stride, padding in WINDOWS:
        settings = {"stride": stride, "padding": padding}
        for count, channels, filters in [(2, 3, 4), (1, 1, 1), (19, 2, 30)]:
            cases.append(Case([draw(count, channels, *size), draw(filters, channels, *kernel) / 3, draw(filters)], settings, 3))
    no_images = [draw(0, 3, *WINDOWS[0][0]), *cases[0].arrays[1:]]
    return [*cases, Case([*cases[0].arrays[:2], None], cases[0].settings, 2), Case(no_images, cases[0].settings, 3)]


def pool_cases(draw: Draw) -> list[Case]:
    """Equal elements, several channels and one, and an image of many windows."""
    cases = []
    for size, kernel, stride, padding in WINDOWS:
        pads = (min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2))
        settings = {"kernel_size": kernel, "stride": stride, "padding": pads}
        cases += [Case([x], settings) for x in (draw(2, 3, *size), draw(1, 1, *size), numpy.zeros((3, 1, *size), draw.dtype))]
    return [*cases, *[Case([draw(*shape)], cases[0].settings) for shape in ((0, 3, *WINDOWS[0][0]), (3, 5, 48, 47))]]


#: Shapes of the parameters of an optimizer: one element, none, and more than a block.
SHAPES: Final[list[tuple[int, ...]]] = [(3, 5), (7,), (), (0, 2), (1, 1), (4096,), (9001,), (161, 127)]
_DECAYS: Final = [0.1 * (i % 3) for i in range(len(SHAPES))]


def update_arrays(draw: Draw, slots: int, shapes: list[tuple[int, ...]] | None = None) -> list[list[Any]]:
    """Parameters, gradients and ``slots`` arrays of moments for each parameter."""
    shapes = SHAPES if shapes is None else shapes
    state = [[numpy.asarray(numpy.abs(draw(*shape))) for shape in shapes] for _ in range(slots)]
    return [[draw(*shape) for shape in shapes], [draw(*shape) for shape in shapes], *state]


def adam_cases(draw: Draw) -> list[Case]:
    """Adam and AdamW, with and without clipping."""
    settings = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decays": _DECAYS, "decoupled": True, "max_norm": None}
    changes: list[dict[str, Any]] = [{}, {"decoupled": False}, {"max_norm": 0.5}, {"max_norm": 1e9}, {"betas": (0.0, 0.9)}]
    scalars = [numpy.asarray(0.01, draw.dtype), numpy.asarray(3, numpy.int32)]
    return [Case([*update_arrays(draw, 2), *scalars], settings | change, 0) for change in changes]


def sgd_cases(draw: Draw) -> list[Case]:
    """SGD with both kinds of momentum and without, with and without clipping."""
    settings = {"momentum": 0.9, "nesterov": False, "weight_decays": _DECAYS, "max_norm": None}
    cases = []
    changes: list[dict[str, Any]] = [{}, {"nesterov": True}, {"max_norm": 0.5}, {"momentum": 0.0}]
    for change in changes:
        arrays = update_arrays(draw, 1) if change.get("momentum", 0.9) else [*update_arrays(draw, 0), []]
        cases.append(Case([*arrays, numpy.asarray(0.01, draw.dtype)], settings | change, 0))
    return cases


def append_rows_cases(draw: Draw) -> list[Case]:
    """Positions at the start, in the middle and at the end of the buffer."""
    sizes = [(2, 7, 3, 2, 4), (1, 4, 5, 1, 0), (1, 4, 5, 4, 0), (0, 4, 5, 2, 1), (2, 6, 1, 0, 3)]  # B, S, C, T, at
    return [Case([draw(b, s, c), draw(b, t, c)], {"at": at}, 0) for b, s, c, t, at in sizes]


def put_row_cases(draw: Draw) -> list[Case]:
    """The first, an inner and the last position."""
    sizes = [(2, 7, 3, 4), (1, 4, 5, 0), (3, 4, 1, 3)]  # B, S, C, at
    return [Case([draw(b, s, c), draw(b, 1, c), numpy.asarray(at, numpy.int32)], {}, 0) for b, s, c, at in sizes]


#: Indices of donated operands by operation, which a kernel may overwrite. All others must keep their values.
DONATED: Final = {"adam": {2, 3}, "append_rows": {0}, "put_row": {0}, "sgd": {2}}

CASES: Final[dict[str, Callable[[Draw], list[Case]]]] = {
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
    "put_row": put_row_cases,
    "relu": relu_cases,
    "sgd": sgd_cases,
    "softmax": lambda draw: [Case([draw(*shape)], {"axis": axis}) for shape in ((2, 3, 5), (1, 1, 1), (3, 65, 7)) for axis in (-1, 0, 1)],
}
