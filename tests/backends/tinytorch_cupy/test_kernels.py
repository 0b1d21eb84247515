"""Every CUDA kernel matches the portable version. The CUDA code and its Python launch code run in an emulator on the CPU."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy
import pytest

from tests.backends.tinytorch_cupy.checks import (
    DTYPES,
    LAYOUTS,
    assert_close,
    check,
    in_every_order,
    on_device,
    skip_without,
    to_float64,
)
from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tinytorch.testing.kernel_cases import CASES, KEY, SHAPES, Case, Draw, update_arrays
from tinytorch.testing.kernel_check import OPERATIONS
from tinytorch_cupy.kernels import KERNELS

Array = Any
pytestmark = pytest.mark.usefixtures("cuda")


@pytest.fixture(autouse=True)
def _matmuls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matmuls use cuBLAS and are tested elsewhere."""
    monkeypatch.setattr(sys.modules["tinytorch_cupy.kernels.conv2d"], "matmul", matmul)


def matmul(a: Array, b: Array) -> Array:
    return fake_cupy.asarray(numpy.asarray(a, numpy.float32) @ numpy.asarray(b, numpy.float32), a.dtype)


#: The kernels of this file by name. Attention has its own file, and matmuls use cuBLAS.
NAMES = ["avg_pool2d", "conv2d", "cross_entropy", "dropout", "embedding", "gelu", "layer_norm", "max_pool2d", "relu"]

#: The emulator is slow, so it does not run calls with more elements; they test kernels for CPUs.
_MOST_ELEMENTS = 20_000


def cases_of(name: str) -> list[Case]:
    return [case for case in CASES[name](Draw()) if name == "embedding" or case.arrays[0].size < _MOST_ELEMENTS]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_match_the_portable_version(name: str, dtype: str) -> None:
    skip_without(dtype)
    for case in cases_of(name):
        check(name, case, dtype)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "contiguous"])
@pytest.mark.parametrize("name", NAMES)
def test_every_layout_of_the_operands(name: str, layout: str) -> None:
    for case in cases_of(name)[:4]:
        check(name, case, "float32", layout)
        check(name, case, "float16", layout)


@pytest.mark.parametrize("name", NAMES)
def test_only_needed_gradients_are_returned(name: str) -> None:
    kernel = KERNELS[name]
    assert kernel.backward is not None
    case = cases_of(name)[0]
    arrays = on_device(case.arrays, "float32")
    out, residuals = kernel.forward(*arrays, **case.settings)
    g = on_device(Draw()(*out.shape), "float32")
    for i in range(case.gradients):
        needs = [j == i for j in range(len(arrays))]
        grads = kernel.backward(g, residuals, arrays, needs, **case.settings)
        assert [grad is not None for grad in grads] == needs


@pytest.mark.parametrize("name", NAMES)
def test_float64_uses_the_portable_version(name: str) -> None:
    case = cases_of(name)[0]
    assert KERNELS[name].forward(*on_device(case.arrays, "float64"), **case.settings) is NotImplemented


# ---- single kernels ----


def test_layer_norm_supports_16_bit_inputs_with_float32_weights() -> None:
    draw = Draw()
    x, weight, bias = draw(3, 40), draw(40), draw(40)
    arrays = [fake_cupy.asarray(x, "float16"), fake_cupy.asarray(weight), fake_cupy.asarray(bias)]
    out, residuals = KERNELS["layer_norm"].forward(*arrays, eps=1e-5)
    g = fake_cupy.asarray(draw(3, 40), "float16")
    backward, portable = KERNELS["layer_norm"].backward, OPERATIONS["layer_norm"]
    assert backward is not None
    grads = backward(g, residuals, arrays, (True, True, True), eps=1e-5)
    assert [grad.dtype.name for grad in grads if grad is not None] == ["float16", "float32", "float32"]
    expected, kept = portable.forward(numpy, *to_float64(arrays), eps=1e-5)
    assert_close(out, expected, 2e-3, "float16")
    assert_close(grads, portable.joint_rule(numpy, to_float64(g), kept, to_float64(arrays), (True, True, True), eps=1e-5), 2e-3)


def test_mismatched_shapes_use_the_portable_version_which_raises() -> None:
    x, wrong = on_device([numpy.ones((4, 6)), numpy.ones(3)], "float32")
    assert KERNELS["layer_norm"].forward(x, wrong, wrong, eps=1e-5) is NotImplemented


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_an_out_of_bounds_id_gives_nan_and_no_gradient(dtype: str) -> None:
    table, ids = on_device([numpy.ones((3, 5)), numpy.asarray([0, -1, 3, 2, -(2**31)]).astype(dtype)], "float32")
    out, _ = KERNELS["embedding"].forward(table, ids)
    assert numpy.isnan(out).all(axis=1).tolist() == [False, True, True, False, True]
    backward = KERNELS["embedding"].backward
    assert backward is not None
    (grad, _) = backward(fake_cupy.asarray(numpy.ones((5, 5)), "float32"), None, (table, ids), (True, False))
    assert grad is not None
    assert grad.tolist() == [[1.0] * 5, [0.0] * 5, [1.0] * 5]


def test_more_segments_than_blocks_along_y() -> None:
    count = 32 * (2**16 - 1) + 1
    table, ids = on_device([numpy.asarray([[3.0], [5.0]]), numpy.arange(count) % 2], "float32")
    out, _ = KERNELS["embedding"].forward(table, ids)
    numpy.testing.assert_array_equal(out[:, 0], numpy.where(numpy.arange(count) % 2, 5.0, 3.0))
    backward = KERNELS["embedding"].backward
    assert backward is not None
    (grad, _) = backward(fake_cupy.asarray(numpy.ones((count, 1)), "float32"), None, (table, ids), (True, False))
    assert grad is not None
    assert grad.tolist() == [[count // 2 + 1], [count // 2]]


@pytest.mark.parametrize(("ids", "width"), [(2**31, 1), (1, 2**23)])
def test_an_embedding_too_large_for_32_bit_indices_uses_the_portable_version(ids: int, width: int) -> None:
    table, one = on_device([numpy.ones((1, 1)), numpy.zeros(1, numpy.int32)], "float32")
    table = numpy.broadcast_to(table, (1, width)).view(fake_cupy.ndarray)
    many = numpy.broadcast_to(one, (ids,)).view(fake_cupy.ndarray)
    assert KERNELS["embedding"].forward(table, many) is NotImplemented


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_out_of_bounds_target_gives_nan_in_its_row_only(smoothing: float) -> None:
    settings = {"ignore_index": -100, "label_smoothing": smoothing}
    logits, targets = on_device([numpy.ones((4, 3)), numpy.asarray([0, 3, -1, 2])], "float32")
    losses, kept = KERNELS["cross_entropy"].forward(logits, targets, **settings)
    assert numpy.isnan(losses).tolist() == [False, True, True, False]
    backward = KERNELS["cross_entropy"].backward
    assert backward is not None
    grad, _ = backward(fake_cupy.asarray(numpy.ones(4), "float32"), kept, (logits, targets), (True, False), **settings)
    assert grad is not None
    assert numpy.isnan(grad).all(axis=1).tolist() == [False, True, True, False]


def test_non_finite_logits_match_the_portable_version() -> None:
    inf, nan = numpy.inf, numpy.nan
    rows = numpy.float32([[0, -inf, 1], [-inf, -inf, 2], [nan, 0, 1], [-inf, nan, 0], [inf, 0, 1], [-inf, -inf, -inf]])
    settings = {"ignore_index": -100, "label_smoothing": 0.0}
    targets = numpy.asarray([0, 2, 1, 2, 1, 0])
    losses, _ = KERNELS["cross_entropy"].forward(*on_device([rows, targets], "float32"), **settings)
    with numpy.errstate(all="ignore"):
        expected, _ = OPERATIONS["cross_entropy"].forward(numpy, rows, targets, **settings)
    numpy.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_dropout_masks_match_the_portable_version_exactly() -> None:
    ones = numpy.ones((3, 500), numpy.float32)
    for p in (0.1, 0.5, 0.999):
        for key, first in ((KEY, 0), (numpy.asarray([-1, -(2**31)], dtype=numpy.int32), 5), (KEY, 2**31 - 700), (KEY, 2**32 - 3)):
            out, _ = KERNELS["dropout"].forward(*on_device([ones, key], "float32"), p=p, site=9, first=first)
            expected, _ = OPERATIONS["dropout"].forward(numpy, ones, key, p=p, site=9, first=first)
            numpy.testing.assert_array_equal(out, expected)


def test_dropped_elements_are_zero_even_if_infinite() -> None:
    out, _ = KERNELS["dropout"].forward(*on_device([numpy.full(1000, numpy.inf, numpy.float32), KEY], "float32"), p=0.5, site=0)
    assert set(out.tolist()) == {0.0, numpy.inf}


def test_nan_is_the_maximum_and_the_first_of_equal_elements_counts() -> None:
    x = numpy.float32([[1, 1, 0, 5], [1, 1, numpy.nan, 7]])[None, None]
    settings = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    out, places = KERNELS["max_pool2d"].forward(fake_cupy.asarray(x), **settings)
    numpy.testing.assert_array_equal(out, numpy.float32([[[[1, numpy.nan]]]]))
    assert places.tolist() == [[[[0, 2]]]]


def test_padding_is_never_the_maximum_of_a_window() -> None:
    x = numpy.full((1, 1, 2, 2), -numpy.inf, numpy.float32)
    settings = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (1, 1)}
    out, places = KERNELS["max_pool2d"].forward(fake_cupy.asarray(x), **settings)
    numpy.testing.assert_array_equal(out, x)
    assert places.tolist() == [[[[3, 2], [1, 0]]]]  # the only index of each window inside the image


def test_a_convolution_too_large_for_32_bit_indices_uses_the_portable_version() -> None:
    x, weight = on_device([numpy.ones((1, 1, 1, 1)), numpy.ones((1, 1, 1, 1))], "float32")
    huge = numpy.broadcast_to(x, (1, 1, 2**16, 2**16)).view(fake_cupy.ndarray)
    assert KERNELS["conv2d"].forward(huge, weight, None, stride=(1, 1), padding=(0, 0)) is NotImplemented


def test_rows_are_appended_in_place() -> None:
    draw = Draw()
    packed = on_device(draw(2, 3, 12), "float16")
    rows, buffer = packed[:, :, 4:8], on_device(draw(2, 7, 4), "float16")
    expected = buffer.copy()
    expected[:, 2:5] = rows
    out, _ = KERNELS["append_rows"].forward(buffer, rows, at=2)
    assert out is buffer
    numpy.testing.assert_array_equal(buffer, expected)


# ---- optimizers ----


MANY: list[tuple[int, ...]] = [(3,)] * 150
RATE, STEP = numpy.asarray(0.01, numpy.float32), numpy.asarray(3, numpy.int32)


def decays(shapes: list[tuple[int, ...]]) -> list[float]:
    return [0.1 * (i % 3) for i in range(len(shapes))]


def check_update(name: str, arrays: list[Any], settings: dict[str, Any]) -> None:
    def run() -> Any:
        return KERNELS[name].forward(*on_device(arrays, "float32"), **settings)[0]

    expected, _ = OPERATIONS[name].forward(numpy, *to_float64(arrays), **settings)
    assert_close(in_every_order(run), expected, 1e-5, "float32")


@pytest.mark.parametrize("shapes", [SHAPES, MANY])
@pytest.mark.parametrize("change", [{}, {"decoupled": False}, {"max_norm": 0.5}, {"max_norm": 1e9}, {"betas": (0.0, 0.9)}])
def test_adam_matches_the_portable_version(shapes: list[tuple[int, ...]], change: dict[str, Any]) -> None:
    settings = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decays": decays(shapes), "decoupled": True, "max_norm": None}
    check_update("adam", [*update_arrays(Draw(), 2, shapes), RATE, STEP], settings | change)


@pytest.mark.parametrize("shapes", [SHAPES, MANY])
@pytest.mark.parametrize("change", [{}, {"nesterov": True}, {"max_norm": 0.5}, {"momentum": 0.0}])
def test_sgd_matches_the_portable_version(shapes: list[tuple[int, ...]], change: dict[str, Any]) -> None:
    settings = {"momentum": 0.9, "nesterov": False, "weight_decays": decays(shapes), "max_norm": None} | change
    arrays = update_arrays(Draw(), 1, shapes) if settings["momentum"] else [*update_arrays(Draw(), 0, shapes), []]
    check_update("sgd", [*arrays, RATE], settings)


ADAM = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decays": [0.1, 0.0], "decoupled": True, "max_norm": 1.0}


def test_moments_are_updated_in_place_and_parameters_are_not() -> None:
    arrays = on_device([*update_arrays(Draw(), 2, [(3, 5), (7,)]), RATE, STEP], "float32")
    params, grads, first, second, _, _ = arrays
    before = [x.copy() for x in (*params, *grads)]
    (_, new_first, new_second, _), _ = KERNELS["adam"].forward(*arrays, **ADAM)
    assert all(new is old for new, old in zip([*new_first, *new_second], [*first, *second], strict=True))
    assert all((after == original).all() for after, original in zip((*params, *grads), before, strict=True))


@pytest.mark.parametrize(("name", "slots", "scalars"), [("adam", 2, [RATE, STEP]), ("sgd", 1, [RATE])])
def test_donated_parameters_are_updated_in_place(name: str, slots: int, scalars: list[Any]) -> None:
    settings = ADAM if name == "adam" else {"momentum": 0.9, "nesterov": True, "weight_decays": [0.1, 0.0], "max_norm": 1.0}
    fresh, donated = (on_device([*update_arrays(Draw(), slots, [(3, 5), (7,)]), *scalars], "float32") for _ in range(2))
    (expected, *_), _ = KERNELS[name].forward(*fresh, **settings)
    (params, *_), _ = KERNELS[name].forward(*donated, **settings, donate=True)
    assert all(new is old for new, old in zip(params, donated[0], strict=True))
    assert all((new == right).all() for new, right in zip(params, expected, strict=True))


def test_a_gradient_shared_by_two_parameters_updates_both() -> None:
    zeros = [[numpy.zeros(2, numpy.float32) for _ in range(2)] for _ in range(3)]
    (params, first, second), g = on_device(zeros, "float32"), on_device(numpy.float32([1, -2]), "float32")
    settings = ADAM | {"weight_decays": [0.0, 0.0]}
    (new, _, _, _), _ = KERNELS["adam"].forward(params, [g, g], first, second, *on_device([RATE, STEP], "float32"), **settings)
    numpy.testing.assert_array_equal(new[0], new[1])


def test_clipping_propagates_nan_gradients() -> None:
    arrays = update_arrays(Draw(), 2, [(3, 5), (7,)])
    arrays[1][1][2] = numpy.nan
    (params, *_, norm), _ = KERNELS["adam"].forward(*on_device([*arrays, RATE, STEP], "float32"), **ADAM)
    assert numpy.isnan(norm)
    assert all(numpy.isnan(param).all() for param in params)


def test_many_parameters_need_one_launch_and_two_for_the_norm() -> None:
    arrays = on_device([*update_arrays(Draw(), 2, [(3,)] * 72), RATE, STEP], "float32")
    fake_cupy.state.launches.clear()
    KERNELS["adam"].forward(*arrays, **ADAM | {"weight_decays": [0.1] * 72})
    assert fake_cupy.state.launches == ["square_sums", "root_of_sum", "adam"]


# ---- sources ----


def test_every_source_is_listed_for_compilation(cuda: ModuleType) -> None:
    from tinytorch_cupy.kernels.launch import DIRECTORY, SOURCES

    assert {path.stem for path in DIRECTORY.glob("*.cu")} == set(SOURCES)
