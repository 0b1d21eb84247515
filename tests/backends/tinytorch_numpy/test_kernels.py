"""Every kernel that is written for numpy does what its portable version does, and so do those that numba compiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy
import pytest

import tinytorch as tt
from tests.backends.tinytorch_numpy.cases import (
    CASES,
    DIFFERENTIABLE,
    DONATED,
    DTYPES,
    KEY,
    LAYOUTS,
    TOLERANCE,
    Array,
    Case,
    Draw,
    adam_cases,
    assert_equal,
    of_both,
    rearranged,
)
from tests.ops.settings_table import OPERATIONS
from tinytorch import ops
from tinytorch.backend import Backend, Kernel, get_backend
from tinytorch_numpy import compiled, threads
from tinytorch_numpy.kernels import KERNELS, support, updates
from tinytorch_numpy.kernels.support import CHUNK


@pytest.fixture(autouse=True)
def numba_for_small_arrays_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_ENOUGH", 0)


@pytest.fixture
def backend() -> Backend:
    return get_backend("numpy")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), of_both(KERNELS))
def test_values_and_gradients_are_those_of_the_portable_version_whose_inputs_it_leaves_alone(
    name: str, kernel: Kernel, dtype: str, layout: str, backend: Backend
) -> None:
    portable = OPERATIONS[name]
    draw = Draw(dtype)
    for case in CASES[name](draw):
        arrays = rearranged(case.arrays, LAYOUTS[layout])
        before = rearranged(arrays, numpy.copy)
        expected, residuals = portable.forward(backend.xp, *before, **case.settings)
        result = kernel.forward(*arrays, **case.settings)
        if result is NotImplemented:
            assert any(x is not None and x.size == 0 for x in case.arrays)  # only what is empty is declined
            continue
        out, own_residuals = result
        assert_equal(out, expected, TOLERANCE[dtype])
        if kernel.backward is not None:
            g = LAYOUTS[layout](draw(*expected.shape))
            g_before = g.copy()
            needs = [i < case.gradients for i in range(len(arrays))]
            wanted = list(portable.joint_rule(backend.xp, g, residuals, before, needs, **case.settings))
            for _ in range(2):  # a retained graph is walked again
                assert_equal(list(kernel.backward(g, own_residuals, arrays, needs, **case.settings)), wanted, TOLERANCE[dtype])
            numpy.testing.assert_array_equal(g, g_before)
        for i in set(range(len(arrays))) - DONATED.get(name, set()):
            numpy.testing.assert_equal(arrays[i], before[i])


@pytest.mark.parametrize(("name", "kernel"), of_both(DIFFERENTIABLE))
def test_only_the_gradients_that_are_needed_are_given(name: str, kernel: Kernel, backend: Backend) -> None:
    assert kernel.backward is not None
    draw = Draw("float64")
    case = CASES[name](draw)[0]
    out, residuals = kernel.forward(*case.arrays, **case.settings)
    g = draw(*out.shape)
    everything = kernel.backward(g, residuals, case.arrays, [i < case.gradients for i in range(len(case.arrays))], **case.settings)
    for i in range(case.gradients):
        needs = [j == i for j in range(len(case.arrays))]
        grads = kernel.backward(g, residuals, case.arrays, needs, **case.settings)
        assert [grad is not None for grad in grads] == needs
        assert_equal(grads[i], everything[i], 1e-12)


def scalar_function(name: str, case: Case) -> Callable[..., tt.Tensor]:
    """The sum of the squares of an operation's results, as a function of the inputs that have a gradient."""
    rest = [None if x is None else tt.asarray(x) for x in case.arrays[case.gradients :]]

    def function(*inputs: tt.Tensor) -> tt.Tensor:
        out = OPERATIONS[name](*inputs, *rest, **case.settings)
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
def test_sixteen_bits_are_left_to_the_portable_version(name: str, kernel: Kernel) -> None:
    def halved(x: Array) -> Array:
        return x.astype(numpy.float16) if x.dtype.kind == "f" else x

    case = CASES[name](Draw("float32"))[0]
    assert kernel.forward(*rearranged(case.arrays, halved), **case.settings) is NotImplemented


@pytest.mark.parametrize("bad", [-1, 3])
def test_ids_and_targets_that_are_out_of_range_are_left_to_the_portable_versions(bad: int) -> None:
    table, ids = numpy.ones((3, 3)), numpy.asarray([0, bad, 2])
    assert KERNELS["embedding"].forward(table, ids) is NotImplemented
    assert KERNELS["cross_entropy"].forward(table, ids, ignore_index=-100, label_smoothing=0.0) is NotImplemented


def test_shapes_that_do_not_fit_are_left_to_the_portable_version_to_refuse() -> None:
    x, wrong = numpy.ones((4, 6)), numpy.ones(3)
    assert KERNELS["linear"].forward(x, numpy.ones((5, 3)), None) is NotImplemented
    assert KERNELS["layer_norm"].forward(x, wrong, wrong, eps=1e-5) is NotImplemented


def test_label_smoothing_is_left_to_the_portable_version() -> None:
    inputs = numpy.ones((2, 3)), numpy.asarray([0, 1])
    assert KERNELS["cross_entropy"].forward(*inputs, ignore_index=-100, label_smoothing=0.1) is NotImplemented


def test_mixed_types_are_left_to_the_portable_version() -> None:
    x, weight = numpy.ones((2, 3), numpy.float32), numpy.ones((4, 3))
    assert KERNELS["linear"].forward(x, weight, None) is NotImplemented


@pytest.mark.parametrize(("name", "kernel"), of_both(["dropout"]))
def test_dropout_keeps_exactly_what_the_portable_version_keeps(name: str, kernel: Kernel, backend: Backend) -> None:
    ones = numpy.ones((3, CHUNK), numpy.float32)
    for p in (0.1, 0.5, 0.999):
        for key, first in ((KEY, 0), (numpy.asarray([-1, -(2**31)], dtype=numpy.int32), 5), (KEY, 2**31 - CHUNK), (KEY, 2**32 - 3)):
            out, _ = kernel.forward(ones, key, p=p, site=9, first=first)
            expected, _ = OPERATIONS[name].forward(backend.xp, ones, key, p=p, site=9, first=first)
            numpy.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("name", "kernel"), of_both(["dropout"]))
def test_a_number_that_dropout_drops_is_zero_even_if_it_is_not_finite(name: str, kernel: Kernel) -> None:
    out, _ = kernel.forward(numpy.full(1000, numpy.inf, numpy.float32), KEY, p=0.5, site=0)
    assert set(out.tolist()) == {0.0, numpy.inf}


def test_rows_that_may_attend_to_nothing_pass_no_gradient_to_queries_and_keys() -> None:
    draw = Draw("float64")
    q, k, v, g = draw(1, 3, 4), draw(1, 3, 4), draw(1, 3, 4), draw(1, 3, 4)
    settings = {"num_heads": 2, "causal": False, "p": 0.0, "site": 0}
    inputs = (q, k, v, numpy.zeros((3, 3), dtype=bool), None)
    out, residuals = KERNELS["attention"].forward(*inputs, **settings)
    numpy.testing.assert_allclose(out, numpy.broadcast_to(v.mean(axis=1, keepdims=True), v.shape))
    backward = KERNELS["attention"].backward
    assert backward is not None
    g_q, g_k, _, _, _ = backward(g, residuals, inputs, (True, True, True, False, False), **settings)
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
    (_, new_first, new_second, _), _ = kernel.forward(*case.arrays, **case.settings)
    assert all(new is old for new, old in zip([*new_first, *new_second], [*first, *second], strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), of_both(["adam", "sgd"]))
def test_donated_parameters_are_updated_in_their_own_memory_to_the_same_bits(name: str, kernel: Kernel, dtype: str) -> None:
    for fresh, given in zip(CASES[name](Draw(dtype)), CASES[name](Draw(dtype)), strict=True):
        (expected, *_), _ = kernel.forward(*fresh.arrays, **fresh.settings)
        (params, *_), _ = kernel.forward(*given.arrays, **given.settings, donate=True)
        assert all(numpy.shares_memory(new, old) for new, old in zip(params, given.arrays[0], strict=True))
        assert_equal(params, expected, 0.0)


@pytest.mark.parametrize(("name", "kernel"), of_both(["adam"]))
def test_a_gradient_that_two_parameters_share_counts_in_full_for_both(name: str, kernel: Kernel) -> None:
    case = adam_cases(Draw("float32"))[0]
    _, _, _, _, rate, step = case.arrays
    g = numpy.asarray([1.0, -2.0], numpy.float32)
    zeros = [[numpy.zeros(2, numpy.float32) for _ in range(2)] for _ in range(3)]
    settings = case.settings | {"weight_decays": [0.0, 0.0]}
    (params, _, _, _), _ = kernel.forward(zeros[0], [g, g], zeros[1], zeros[2], rate, step, **settings)
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
            outs.append(kernel.forward(*case.arrays, **case.settings | {"max_norm": None})[0][:-1])
        threads.use(1)
        assert_equal(outs[1], outs[0], 0.0)


@pytest.mark.parametrize(("name", "kernel"), of_both(["adam", "sgd"]))
def test_a_gradient_that_is_not_a_number_is_not_hidden_by_clipping(name: str, kernel: Kernel) -> None:
    case = CASES[name](Draw("float32"))[0]
    case.arrays[1][1][2] = numpy.nan
    (params, *_, norm), _ = kernel.forward(*case.arrays, **case.settings | {"max_norm": 1.0})
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
        actual = support.row_matmul(x, laid)
        assert actual.dtype == dtype
        assert actual.shape == (1, shape[0])
        assert_equal(actual[0], expected.astype(dtype), 1e-4 if dtype == "float32" else 1e-12)
