"""Every kernel that is written for numpy does what its portable twin does, and so do those that numba compiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tinytorch import ops
from tinytorch.autograd.operation import Operation
from tinytorch.backend import Backend, Kernel, get_backend
from tinytorch_numpy import compiled, threads
from tinytorch_numpy.kernels import KERNELS, support, updates
from tinytorch_numpy.kernels.support import CHUNK

Array = Any
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DIFFERENTIABLE = sorted(name for name, kernel in KERNELS.items() if kernel.backward is not None)

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed: pip install 'tinytorch-xp[fast]'")


def of_both(names: Iterable[str]) -> list[Any]:
    """Names of operations, each with numpy's kernel and with the compiled one where there is one."""
    plain = [pytest.param(name, KERNELS[name], id=name) for name in names]
    return plain + [
        pytest.param(name, compiled.KERNELS[name], id=f"{name}-compiled", marks=needs_numba) for name in names if name in compiled.KERNELS
    ]


@pytest.fixture(autouse=True)
def numba_for_small_arrays_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_ENOUGH", 0)


@dataclass
class Case:
    """One call: its arrays, what it is told besides, and which arrays have a gradient (the first ones)."""

    arrays: list[Any]
    static: dict[str, Any]
    gradients: int = 1


class Draw:
    """Draws arrays of one type."""

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
    return [*cases, Case([100.0 + draw(4, 65), draw(65), draw(65)], {"eps": 1e-5}, 3)]


def gelu_cases(draw: Draw) -> list[Case]:
    arrays = [draw(2, 3, 5), draw(1), draw(), draw(0, 4), 20.0 * draw(40), draw(CHUNK + 3), numpy.zeros(3, draw.dtype)]
    kinds = ["tanh", "none"] if draw.dtype == "float32" else ["tanh"]
    return [Case([x], {"approximate": kind}) for kind in kinds for x in arrays]


def embedding_cases(draw: Draw) -> list[Case]:
    shapes = [(3, 4), (1,), (), (0,), (2, 3, 4), (50,)]
    return [Case([draw(7, 5), draw.ids(7, *shape)], {}) for shape in shapes] + [Case([draw(300, 3), draw.ids(300, 40)], {})]


def cross_entropy_cases(draw: Draw) -> list[Case]:
    static = {"ignore_index": -100, "label_smoothing": 0.0}
    sizes = [(5, 7), (1, 3), (4, 1), (CHUNK // 65 + 3, 65)]
    cases = [Case([draw(n, v), draw.ids(v, n)], static) for n, v in sizes]
    return [
        *cases,
        Case([draw(4, 5), numpy.asarray([0, -100, 4, -100])], static),
        Case([1000.0 * draw(4, 5), draw.ids(5, 4).astype(numpy.int32)], static),
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
            static = {"num_heads": heads, "causal": causal, "site": 5}
            cases.append(Case([*arrays, None, None], static | {"p": 0.0}, 3))
            cases.append(Case([*arrays, None, KEY], static | {"p": 0.3}, 3))
            cases.append(Case([*arrays, None, KEY], static | {"p": 0.3, "first": 1000}, 3))
            cases.append(Case([*arrays, None, KEY], static | {"p": 0.3, "first": 2**32 - 20}, 3))
            mask = draw.generator.random((batch, 1, 1, keys)) < 0.7
            mask[..., 0] = True
            cases.append(Case([*arrays, mask, KEY], static | {"p": 0.2}, 3))
    more_queries = [draw(2, 7, 4), draw(2, 3, 4), draw(2, 3, 4), None, None]
    wide_values = [draw(2, 3, 4), draw(2, 5, 4), draw(2, 5, 10), None, None]
    some_rows = draw.generator.random((4, 6)) < 0.5
    some_rows[2] = False  # this one may attend to nothing
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
            static = {"num_heads": heads, "causal": causal, "site": 1}
            cases.append(Case([qkv, None, None], static | {"p": 0.0}))
            cases.append(Case([qkv, None, KEY], static | {"p": 0.5}))
    cases.append(Case([6.0 * draw(2, 140, 12), None, None], {"num_heads": 2, "causal": True, "p": 0.0, "site": 0}))
    return cases


#: Size of the images, then of the window, its stride and the padding.
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
        static = {"stride": stride, "padding": padding}
        for count, channels, filters in [(2, 3, 4), (1, 1, 1), (19, 2, 30)]:
            arrays = [draw(count, channels, *size), draw(filters, channels, *kernel), draw(filters)]
            cases.append(Case(arrays, static, 3))
    unbiased, empty = cases[0].arrays[:2], draw(0, 3, 7, 6)
    return [*cases, Case([*unbiased, None], cases[0].static, 2), Case([empty, *cases[0].arrays[1:]], cases[0].static, 3)]


def pool_cases(draw: Draw) -> list[Case]:
    cases = []
    for size, kernel, stride, padding in WINDOWS:
        pads = (min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2))
        static = {"kernel_size": kernel, "stride": stride, "padding": pads}
        cases += [Case([x], static) for x in (draw(2, 3, *size), draw(1, 1, *size), numpy.zeros((3, 1, *size), draw.dtype))]
    return [*cases, Case([draw(0, 3, *WINDOWS[0][0])], cases[0].static)]


def relu_cases(draw: Draw) -> list[Case]:
    return [Case([x], {}) for x in (draw(2, 3, 5), draw(1), draw(), draw(0, 4), numpy.zeros(3, draw.dtype))]


def update_arrays(draw: Draw, slots: int) -> list[Any]:
    shapes = [(3, 5), (7,), (), (1, 1), (CHUNK + 3,)]
    state = [[numpy.asarray(numpy.abs(draw(*shape))) for shape in shapes] for _ in range(slots)]
    return [[draw(*shape) for shape in shapes], [draw(*shape) for shape in shapes], *state]


def adam_cases(draw: Draw) -> list[Case]:
    static = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decays": [0.1, 0.0, 0.2, 0.0, 0.1], "decoupled": True, "max_norm": None}
    changes: list[dict[str, Any]] = [{}, {"decoupled": False}, {"max_norm": 0.5}, {"max_norm": 1e9}, {"betas": (0.0, 0.9)}]
    cases = []
    for change in changes:
        rate, step = numpy.asarray(0.01, dtype=draw.dtype), numpy.asarray(3, dtype=numpy.int32)
        cases.append(Case([*update_arrays(draw, 2), rate, step], static | change, 0))
    return cases


def sgd_cases(draw: Draw) -> list[Case]:
    static = {"momentum": 0.9, "nesterov": False, "weight_decays": [0.1, 0.0, 0.2, 0.0, 0.1], "max_norm": None}
    changes: list[dict[str, Any]] = [{}, {"nesterov": True}, {"max_norm": 0.5}, {"momentum": 0.0}]
    cases = []
    for change in changes:
        arrays = update_arrays(draw, 1) if change.get("momentum", 0.9) else [*update_arrays(draw, 0), []]
        cases.append(Case([*arrays, numpy.asarray(0.01, dtype=draw.dtype)], static | change, 0))
    return cases


def append_rows_cases(draw: Draw) -> list[Case]:
    sizes = [(2, 7, 3, 2, 4), (1, 4, 5, 1, 0), (1, 4, 5, 4, 0), (0, 4, 5, 2, 1), (2, 6, 1, 0, 3)]  # B, S, C, T, at
    return [Case([draw(b, s, c), draw(b, t, c)], {"at": at}, 0) for b, s, c, t, at in sizes]


#: Arguments that are given for good, where there are any: the others keep their values.
GIVEN = {"adam": {2, 3}, "sgd": {2}, "append_rows": {0}}

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
    spread = numpy.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), x.dtype)
    view = spread[..., ::2] if x.ndim else spread[0:1].reshape(())
    view[...] = x
    return view


def columns_first(x: Array) -> Array:
    return numpy.asfortranarray(x) if x.ndim else x  # it would make one dimension of none


def read_only(x: Array) -> Array:
    x = x.copy()
    x.setflags(write=False)
    return x


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "as_made": lambda x: x,
    "every_second": every_second,
    "columns_first": columns_first,
    "read_only": read_only,
}


def rearranged(value: Any, change: Callable[[Array], Array]) -> Any:
    """``change`` applied to every array, in lists too."""
    if isinstance(value, list):
        return [rearranged(item, change) for item in value]
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


def portable(name: str) -> Operation[..., Any]:
    twin = getattr(ops, name)
    assert isinstance(twin, Operation)
    return twin


@pytest.fixture
def backend() -> Backend:
    return get_backend("numpy")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), of_both(KERNELS))
def test_values_and_gradients_are_those_of_the_portable_kernel_whose_inputs_it_leaves_alone(
    name: str, kernel: Kernel, dtype: str, layout: str, backend: Backend
) -> None:
    twin = portable(name)
    draw = Draw(dtype)
    for case in CASES[name](draw):
        arrays = rearranged(case.arrays, LAYOUTS[layout])
        before = rearranged(arrays, numpy.copy)
        expected, residuals = twin.forward(backend.xp, *before, **case.static)
        result = kernel.forward(*arrays, **case.static)
        if result is NotImplemented:
            assert any(x is not None and x.size == 0 for x in case.arrays)  # only what is empty is declined
            continue
        out, own_residuals = result
        assert_equal(out, expected, TOLERANCE[dtype])
        if kernel.backward is not None and twin.joint_rule is not None:
            g = LAYOUTS[layout](draw(*expected.shape))
            g_before = g.copy()
            needs = [i < case.gradients for i in range(len(arrays))]
            wanted = list(twin.joint_rule(backend.xp, g, residuals, before, needs, **case.static))
            for _ in range(2):  # a retained graph is walked again
                assert_equal(list(kernel.backward(g, own_residuals, arrays, needs, **case.static)), wanted, TOLERANCE[dtype])
            numpy.testing.assert_array_equal(g, g_before)
        for i in set(range(len(arrays))) - GIVEN.get(name, set()):
            numpy.testing.assert_equal(arrays[i], before[i])


@pytest.mark.parametrize(("name", "kernel"), of_both(DIFFERENTIABLE))
def test_only_the_gradients_that_are_needed_are_given(name: str, kernel: Kernel, backend: Backend) -> None:
    assert kernel.backward is not None
    draw = Draw("float64")
    case = CASES[name](draw)[0]
    out, residuals = kernel.forward(*case.arrays, **case.static)
    g = draw(*out.shape)
    everything = kernel.backward(g, residuals, case.arrays, [i < case.gradients for i in range(len(case.arrays))], **case.static)
    for i in range(case.gradients):
        needs = [j == i for j in range(len(case.arrays))]
        grads = kernel.backward(g, residuals, case.arrays, needs, **case.static)
        assert [grad is not None for grad in grads] == needs
        assert_equal(grads[i], everything[i], 1e-12)


def scalar_function(name: str, case: Case) -> Callable[..., tt.Tensor]:
    """The sum of the squares of an operation's results, as a function of the inputs that have a gradient."""
    rest = [None if x is None else tt.asarray(x) for x in case.arrays[case.gradients :]]

    def function(*inputs: tt.Tensor) -> tt.Tensor:
        out = portable(name)(*inputs, *rest, **case.static)
        return tt.sum(out * out)

    return function


def curvature(function: Callable[..., tt.Tensor], inputs: Sequence[tt.Tensor]) -> list[Array]:
    """The gradient of the sum of the squares of the gradient."""
    argnums = tuple(range(len(inputs)))

    def slope(*tensors: tt.Tensor) -> tt.Tensor:
        total = tt.asarray(0.0, dtype=tt.float64)
        for gradient in tt.grad(function, argnums)(*tensors):
            total = total + tt.sum(gradient * gradient)
        return total

    return [gradient.numpy() for gradient in tt.grad(slope, argnums)(*inputs)]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_derivatives_are_those_without_overrides(name: str) -> None:
    with tt.use_backend("numpy"):
        for case in CASES[name](Draw("float64"))[:4]:
            function = scalar_function(name, case)
            inputs = [tt.asarray(x) for x in case.arrays[: case.gradients]]
            with ops.portable_kernels():
                expected = curvature(function, inputs)
            assert_equal(curvature(function, inputs), expected, 1e-9)


@pytest.mark.parametrize(("name", "kernel"), of_both(KERNELS))
def test_sixteen_bits_are_left_to_the_portable_kernel(name: str, kernel: Kernel) -> None:
    def halved(x: Array) -> Array:
        return x.astype(numpy.float16) if x.dtype.kind == "f" else x

    case = CASES[name](Draw("float32"))[0]
    assert kernel.forward(*rearranged(case.arrays, halved), **case.static) is NotImplemented


@pytest.mark.parametrize("bad", [-1, 3])
def test_ids_and_targets_that_are_out_of_range_are_left_to_the_portable_kernels(bad: int) -> None:
    table, ids = numpy.ones((3, 3)), numpy.asarray([0, bad, 2])
    assert KERNELS["embedding"].forward(table, ids) is NotImplemented
    assert KERNELS["cross_entropy"].forward(table, ids, ignore_index=-100, label_smoothing=0.0) is NotImplemented


def test_shapes_that_do_not_fit_are_left_to_the_portable_kernel_to_refuse() -> None:
    x, wrong = numpy.ones((4, 6)), numpy.ones(3)
    assert KERNELS["linear"].forward(x, numpy.ones((5, 3)), None) is NotImplemented
    assert KERNELS["layer_norm"].forward(x, wrong, wrong, eps=1e-5) is NotImplemented


def test_label_smoothing_is_left_to_the_portable_kernel() -> None:
    inputs = numpy.ones((2, 3)), numpy.asarray([0, 1])
    assert KERNELS["cross_entropy"].forward(*inputs, ignore_index=-100, label_smoothing=0.1) is NotImplemented


def test_mixed_types_are_left_to_the_portable_kernel() -> None:
    x, weight = numpy.ones((2, 3), numpy.float32), numpy.ones((4, 3))
    assert KERNELS["linear"].forward(x, weight, None) is NotImplemented


@pytest.mark.parametrize(("name", "kernel"), of_both(["dropout"]))
def test_dropout_keeps_exactly_what_the_portable_kernel_keeps(name: str, kernel: Kernel, backend: Backend) -> None:
    ones = numpy.ones((3, CHUNK), numpy.float32)
    for p in (0.1, 0.5, 0.999):
        for key, first in ((KEY, 0), (numpy.asarray([-1, -(2**31)], dtype=numpy.int32), 5), (KEY, 2**31 - CHUNK), (KEY, 2**32 - 3)):
            out, _ = kernel.forward(ones, key, p=p, site=9, first=first)
            expected, _ = portable(name).forward(backend.xp, ones, key, p=p, site=9, first=first)
            numpy.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("name", "kernel"), of_both(["dropout"]))
def test_a_number_that_dropout_drops_is_zero_even_if_it_is_not_finite(name: str, kernel: Kernel) -> None:
    out, _ = kernel.forward(numpy.full(1000, numpy.inf, numpy.float32), KEY, p=0.5, site=0)
    assert set(out.tolist()) == {0.0, numpy.inf}


def test_rows_that_may_attend_to_nothing_pass_no_gradient_to_queries_and_keys() -> None:
    draw = Draw("float64")
    q, k, v, g = draw(1, 3, 4), draw(1, 3, 4), draw(1, 3, 4), draw(1, 3, 4)
    static = {"num_heads": 2, "causal": False, "p": 0.0, "site": 0}
    inputs = (q, k, v, numpy.zeros((3, 3), dtype=bool), None)
    out, residuals = KERNELS["attention"].forward(*inputs, **static)
    numpy.testing.assert_allclose(out, numpy.broadcast_to(v.mean(axis=1, keepdims=True), v.shape))
    backward = KERNELS["attention"].backward
    assert backward is not None
    g_q, g_k, _, _, _ = backward(g, residuals, inputs, (True, True, True, False, False), **static)
    assert g_q is not None
    assert not g_q.any()
    assert g_k is not None
    assert not g_k.any()


@pytest.mark.parametrize(("name", "kernel"), of_both(["packed_attention"]))
def test_large_scores_do_not_overflow(name: str, kernel: Kernel) -> None:
    qkv = numpy.full((1, 4, 6), 1e4, numpy.float32)
    out, _ = kernel.forward(qkv, None, None, num_heads=1, causal=True, p=0.0, site=0)
    numpy.testing.assert_allclose(out, 1e4, rtol=1e-6)


@pytest.mark.parametrize(("name", "kernel"), of_both(["adam"]))
def test_moments_are_updated_in_their_own_memory(name: str, kernel: Kernel) -> None:
    case = adam_cases(Draw("float32"))[0]
    _, _, first, second, _, _ = case.arrays
    (_, new_first, new_second, _), _ = kernel.forward(*case.arrays, **case.static)
    assert all(new is old for new, old in zip([*new_first, *new_second], [*first, *second], strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), of_both(["adam", "sgd"]))
def test_parameters_that_are_given_for_good_are_updated_in_their_own_memory_to_the_same_bits(name: str, kernel: Kernel, dtype: str) -> None:
    for fresh, given in zip(CASES[name](Draw(dtype)), CASES[name](Draw(dtype)), strict=True):
        (expected, *_), _ = kernel.forward(*fresh.arrays, **fresh.static)
        (params, *_), _ = kernel.forward(*given.arrays, **given.static, donate=True)
        assert all(numpy.shares_memory(new, old) for new, old in zip(params, given.arrays[0], strict=True))
        assert_equal(params, expected, 0.0)


@pytest.mark.parametrize(("name", "kernel"), of_both(["adam"]))
def test_a_gradient_that_two_parameters_share_counts_in_full_for_both(name: str, kernel: Kernel) -> None:
    case = adam_cases(Draw("float32"))[0]
    _, _, _, _, rate, step = case.arrays
    g = numpy.asarray([1.0, -2.0], numpy.float32)
    zeros = [[numpy.zeros(2, numpy.float32) for _ in range(2)] for _ in range(3)]
    static = case.static | {"weight_decays": [0.0, 0.0]}
    (params, _, _, _), _ = kernel.forward(zeros[0], [g, g], zeros[1], zeros[2], rate, step, **static)
    numpy.testing.assert_array_equal(params[0], params[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), of_both(["adam", "sgd"]))
def test_an_update_that_threads_share_gives_the_same_bits(name: str, kernel: Kernel, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_ENOUGH", 0)
    for i in range(len(CASES[name](Draw(dtype)))):
        outs = []
        for count in (1, 2):
            threads.use(count)
            case = CASES[name](Draw(dtype))[i]
            outs.append(kernel.forward(*case.arrays, **case.static | {"max_norm": None})[0][:-1])
        threads.use(1)
        assert_equal(outs[1], outs[0], 0.0)


@pytest.mark.parametrize(("name", "kernel"), of_both(["adam", "sgd"]))
def test_a_gradient_that_is_not_a_number_is_not_hidden_by_clipping(name: str, kernel: Kernel) -> None:
    case = CASES[name](Draw("float32"))[0]
    case.arrays[1][1][2] = numpy.nan
    (params, *_, norm), _ = kernel.forward(*case.arrays, **case.static | {"max_norm": 1.0})
    assert numpy.isnan(norm)
    assert all(numpy.isnan(param).all() for param in params)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (700, 701), (701, 700)])
def test_a_row_times_a_matrix_is_right_however_the_matrix_is_read(
    shape: tuple[int, int], dtype: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "_LARGE_WEIGHT", 700 * 701)  # shared by two threads
    monkeypatch.setattr(threads, "_count", count)
    random = numpy.random.default_rng(0)
    x, weight = (random.normal(size=size).astype(dtype) for size in ((1, shape[1]), shape))
    expected = numpy.sum(x.astype("float64") * weight.astype("float64"), axis=1)
    for laid in (weight, numpy.asfortranarray(weight)):
        actual = support.row_product(x, laid)
        assert actual.dtype == dtype
        assert actual.shape == (1, shape[0])
        assert_equal(actual[0], expected.astype(dtype), 1e-4 if dtype == "float32" else 1e-12)
