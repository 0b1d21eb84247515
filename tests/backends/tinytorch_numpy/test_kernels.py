"""Every numpy kernel, compiled by numba or not, matches the portable version."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy
import pytest

import tinytorch as tt
from tests.backends.tinytorch_numpy.cases import (
    DIFFERENTIABLE,
    DTYPES,
    LAYOUTS,
    TOLERANCE,
    Array,
    assert_equal,
    cases_of,
    groups_of,
    map_arrays,
    numpy_and_compiled,
)
from tinytorch import ops
from tinytorch.backend import Backend, Kernel, get_backend
from tinytorch.testing.kernel_cases import DONATED, KEY, Case, Draw
from tinytorch.testing.kernel_check import OPERATIONS
from tinytorch_numpy import compiled, threads
from tinytorch_numpy.kernels import KERNELS, support, updates
from tinytorch_numpy.kernels.support import CHUNK


@pytest.fixture(autouse=True)
def use_numba_for_small_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_MIN_SIZE", 0)


@pytest.fixture
def backend() -> Backend:
    return get_backend("numpy")


def is_declined(case: Case) -> bool:
    """Whether numpy's kernels leave a call to the portable version: that of an empty array, and label smoothing."""
    return any(isinstance(x, numpy.ndarray) and x.size == 0 for x in case.arrays) or bool(case.settings.get("label_smoothing"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(KERNELS))
def test_values_and_gradients_match_the_portable_version_and_inputs_are_unchanged(
    name: str, kernel: Kernel, dtype: str, layout: str, backend: Backend
) -> None:
    portable = OPERATIONS[name]
    for draw, case in [(draw, case) for draw, cases in groups_of(name, dtype) for case in cases]:
        arrays = map_arrays(case.arrays, LAYOUTS[layout])
        before = map_arrays(arrays, numpy.copy)
        expected, residuals = portable.forward(backend.xp, *before, **case.settings)
        result = kernel.forward(*arrays, **case.settings)
        if result is NotImplemented:
            assert is_declined(case)
            continue
        out, own_residuals = result
        assert_equal(out, expected, TOLERANCE[dtype])
        if kernel.backward is not None:
            g = LAYOUTS[layout](draw(*expected.shape))
            g_before = g.copy()
            needs = [i < case.gradients for i in range(len(arrays))]
            expected_grads = list(portable.joint_rule(backend.xp, g, residuals, before, needs, **case.settings))
            for _ in range(2):  # twice, as with a retained graph
                assert_equal(list(kernel.backward(g, own_residuals, arrays, needs, **case.settings)), expected_grads, TOLERANCE[dtype])
            numpy.testing.assert_array_equal(g, g_before)
        for i in set(range(len(arrays))) - DONATED.get(name, set()):
            numpy.testing.assert_equal(arrays[i], before[i])


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(DIFFERENTIABLE))
def test_only_needed_gradients_are_returned(name: str, kernel: Kernel, backend: Backend) -> None:
    assert kernel.backward is not None
    draw = Draw("float64")
    case = cases_of(name, "float64")[0]
    out, residuals = kernel.forward(*case.arrays, **case.settings)
    g = draw(*out.shape)
    all_grads = kernel.backward(g, residuals, case.arrays, [i < case.gradients for i in range(len(case.arrays))], **case.settings)
    for i in range(case.gradients):
        needs = [j == i for j in range(len(case.arrays))]
        grads = kernel.backward(g, residuals, case.arrays, needs, **case.settings)
        assert [grad is not None for grad in grads] == needs
        assert_equal(grads[i], all_grads[i], 1e-12)


def scalar_function(name: str, case: Case) -> Callable[..., tt.Tensor]:
    """The sum of squares of an operation's output, as a function of its differentiable inputs."""
    rest = [None if x is None else tt.asarray(x) for x in case.arrays[case.gradients :]]

    def function(*inputs: tt.Tensor) -> tt.Tensor:
        out = OPERATIONS[name](*inputs, *rest, **case.settings)
        return tt.sum(out * out)

    return function


def curvature(function: Callable[..., tt.Tensor], inputs: Sequence[tt.Tensor]) -> list[Array]:
    """The gradient of the squared norm of the gradient of ``function``."""
    argnums = tuple(range(len(inputs)))

    def gradient_norm(*tensors: tt.Tensor) -> tt.Tensor:
        total = tt.asarray(0.0, dtype=tt.float64)
        for gradient in tt.grad(function, argnums)(*tensors):
            total = total + tt.sum(gradient * gradient)
        return total

    return [gradient.numpy() for gradient in tt.grad(gradient_norm, argnums)(*inputs)]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_derivatives_match_the_portable_version(name: str) -> None:
    with tt.use_backend("numpy"):
        for case in cases_of(name, "float64")[:4]:
            function = scalar_function(name, case)
            inputs = [tt.asarray(x) for x in case.arrays[: case.gradients]]
            with ops.portable_kernels():
                expected = curvature(function, inputs)
            assert_equal(curvature(function, inputs), expected, 1e-9)


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(KERNELS))
def test_float16_uses_the_portable_version(name: str, kernel: Kernel) -> None:
    def to_float16(x: Array) -> Array:
        return x.astype(numpy.float16) if x.dtype.kind == "f" else x

    case = cases_of(name, "float32")[0]
    assert kernel.forward(*map_arrays(case.arrays, to_float16), **case.settings) is NotImplemented


@pytest.mark.parametrize("bad", [-1, 3])
def test_out_of_bounds_ids_and_targets_use_the_portable_version(bad: int) -> None:
    table, ids = numpy.ones((3, 3)), numpy.asarray([0, bad, 2])
    assert KERNELS["embedding"].forward(table, ids) is NotImplemented
    assert KERNELS["cross_entropy"].forward(table, ids, ignore_index=-100, label_smoothing=0.0) is NotImplemented


def test_mismatched_shapes_use_the_portable_version_which_raises() -> None:
    x, wrong = numpy.ones((4, 6)), numpy.ones(3)
    assert KERNELS["linear"].forward(x, numpy.ones((5, 3)), None) is NotImplemented
    assert KERNELS["layer_norm"].forward(x, wrong, wrong, eps=1e-5) is NotImplemented


def test_label_smoothing_uses_the_portable_version() -> None:
    inputs = numpy.ones((2, 3)), numpy.asarray([0, 1])
    assert KERNELS["cross_entropy"].forward(*inputs, ignore_index=-100, label_smoothing=0.1) is NotImplemented


def test_mixed_dtypes_use_the_portable_version() -> None:
    x, weight = numpy.ones((2, 3), numpy.float32), numpy.ones((4, 3))
    assert KERNELS["linear"].forward(x, weight, None) is NotImplemented


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["dropout"]))
def test_dropout_masks_match_the_portable_version_exactly(name: str, kernel: Kernel, backend: Backend) -> None:
    ones = numpy.ones((3, CHUNK), numpy.float32)
    for p in (0.1, 0.5, 0.999):
        for key, first in ((KEY, 0), (numpy.asarray([-1, -(2**31)], dtype=numpy.int32), 5), (KEY, 2**31 - CHUNK), (KEY, 2**32 - 3)):
            out, _ = kernel.forward(ones, key, p=p, site=9, first=first)
            expected, _ = OPERATIONS[name].forward(backend.xp, ones, key, p=p, site=9, first=first)
            numpy.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["dropout"]))
def test_dropped_elements_are_zero_even_if_infinite(name: str, kernel: Kernel) -> None:
    out, _ = kernel.forward(numpy.full(1000, numpy.inf, numpy.float32), KEY, p=0.5, site=0)
    assert set(out.tolist()) == {0.0, numpy.inf}


def test_fully_masked_rows_pass_no_gradient_to_queries_and_keys() -> None:
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


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["packed_attention"]))
def test_large_scores_do_not_overflow(name: str, kernel: Kernel) -> None:
    qkv = numpy.full((1, 4, 6), 1e4, numpy.float32)
    out, _ = kernel.forward(qkv, None, None, num_heads=1, causal=True, p=0.0, site=0)
    numpy.testing.assert_allclose(out, 1e4, rtol=1e-6)


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["adam"]))
def test_moments_are_updated_in_place(name: str, kernel: Kernel) -> None:
    case = cases_of(name, "float32")[0]
    _, _, first, second, _, _ = case.arrays
    (_, new_first, new_second, _), _ = kernel.forward(*case.arrays, **case.settings)
    assert all(new is old for new, old in zip([*new_first, *new_second], [*first, *second], strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["adam", "sgd"]))
def test_donated_parameters_are_updated_in_place_bit_for_bit(name: str, kernel: Kernel, dtype: str) -> None:
    for fresh, donated in zip(cases_of(name, dtype), cases_of(name, dtype), strict=True):
        (expected, *_), _ = kernel.forward(*fresh.arrays, **fresh.settings)
        (params, *_), _ = kernel.forward(*donated.arrays, **donated.settings, donate=True)
        assert all(numpy.shares_memory(new, old) for new, old in zip(params, donated.arrays[0], strict=True) if old.size)
        assert_equal(params, expected, 0.0)


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["adam"]))
def test_a_gradient_shared_by_two_parameters_updates_both(name: str, kernel: Kernel) -> None:
    case = cases_of(name, "float32")[0]
    _, _, _, _, lr, step = case.arrays
    g = numpy.asarray([1.0, -2.0], numpy.float32)
    zeros = [[numpy.zeros(2, numpy.float32) for _ in range(2)] for _ in range(3)]
    settings = case.settings | {"weight_decays": [0.0, 0.0]}
    (params, _, _, _), _ = kernel.forward(zeros[0], [g, g], zeros[1], zeros[2], lr, step, **settings)
    numpy.testing.assert_array_equal(params[0], params[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["adam", "sgd"]))
def test_a_sharded_update_is_bit_identical(name: str, kernel: Kernel, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_MIN_PARALLEL_SIZE", 0)
    for i in range(len(cases_of(name, dtype))):
        outs = []
        for count in (1, 2):
            threads.use(count)
            case = cases_of(name, dtype)[i]
            outs.append(kernel.forward(*case.arrays, **case.settings | {"max_norm": None})[0][:-1])
        threads.use(1)
        assert_equal(outs[1], outs[0], 0.0)


@pytest.mark.parametrize(("name", "kernel"), numpy_and_compiled(["adam", "sgd"]))
def test_clipping_propagates_nan_gradients(name: str, kernel: Kernel) -> None:
    case = cases_of(name, "float32")[0]
    case.arrays[1][1][2] = numpy.nan
    (params, *_, norm), _ = kernel.forward(*case.arrays, **case.settings | {"max_norm": 1.0})
    assert numpy.isnan(norm)
    assert all(numpy.isnan(param).all() for param in params)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (700, 701), (701, 700)])
def test_row_matmul_is_right_for_every_layout_and_thread_count(
    shape: tuple[int, int], dtype: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "_MIN_PARALLEL_WEIGHT", 700 * 701)  # so that this size uses two threads
    monkeypatch.setattr(threads, "_count", count)
    random = numpy.random.default_rng(0)
    x, weight = (random.normal(size=size).astype(dtype) for size in ((1, shape[1]), shape))
    expected = numpy.sum(x.astype("float64") * weight.astype("float64"), axis=1)
    for layout in (weight, numpy.asfortranarray(weight)):
        actual = support.row_matmul(x, layout)
        assert actual.dtype == dtype
        assert actual.shape == (1, shape[0])
        assert_equal(actual[0], expected.astype(dtype), 1e-4 if dtype == "float32" else 1e-12)
