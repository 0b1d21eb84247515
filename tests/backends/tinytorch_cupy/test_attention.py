"""Attention in CUDA matches the portable version: with and without tensor cores, with split keys, packed and unpacked."""

from __future__ import annotations

import sys

import numpy
import pytest

from tests.backends.tinytorch_cupy.checks import DTYPES, assert_close, check, on_device, skip_without, to_float64
from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tinytorch.testing.kernel_cases import KEY, Case, Draw
from tinytorch.testing.kernel_check import OPERATIONS
from tinytorch_cupy.kernels import KERNELS

MODULE = sys.modules["tinytorch_cupy.kernels.attention"]  # the attribute of the package is the kernel, not the module

pytestmark = pytest.mark.usefixtures("cuda")

#: 16-bit tolerances are larger, because weights and gradients of scores are rounded before the second matmul.
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def check_attention(case: Case, dtype: str, name: str = "attention", layout: str = "contiguous", factor: float = 1.0) -> None:
    check(name, case, dtype, layout, factor * TOLERANCE[dtype], least=0.2)


def settings(num_heads: int, causal: bool = True, p: float = 0.0, first: int = 0) -> dict[str, object]:
    return {"num_heads": num_heads, "causal": causal, "p": p, "site": 5, "first": first}


def operands(batch: int, queries: int, keys: int, width: int) -> list[object]:
    draw = Draw()
    return [draw(batch, queries, width), draw(batch, keys, width), draw(batch, keys, width)]


#: Batch size, queries, keys, heads, total width of the heads.
SIZES = [
    (1, 1, 1, 1, 8),  # the smallest case
    (2, 5, 5, 2, 32),
    (1, 70, 70, 1, 16),  # more than one tile, not a multiple of the tile
    (1, 65, 130, 1, 64),  # cached keys before the queries
    (1, 130, 130, 1, 40),  # a width that is not a power of two
    (1, 40, 40, 2, 160),
    (1, 33, 48, 1, 128),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_match_the_portable_version(size: tuple[int, ...], causal: bool, dtype: str) -> None:
    skip_without(dtype)
    batch, queries, keys, heads, width = size
    check_attention(Case([*operands(batch, queries, keys, width), None, None], settings(heads, causal), 3), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("queries", [3, 37])
def test_dropout_masks_match_the_portable_version(queries: int, dtype: str) -> None:
    skip_without(dtype)
    for first in (0, 1000, 2**32 - 20):  # indices of random bits are modulo 2^32
        check_attention(Case([*operands(2, queries, 37, 32), None, KEY], settings(2, p=0.3, first=first), 3), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [2, 40])
def test_masks_match_and_fully_masked_queries_attend_to_all_keys_equally(queries: int, causal: bool, dtype: str) -> None:
    draw = Draw().generator
    padding, pairs = draw.random((2, 1, 1, 40)) < 0.7, draw.random((queries, 40)) < 0.5
    padding[..., 0] = True
    pairs[1] = False
    for mask in (padding, pairs, draw.random((2, 2, queries, 40)) < 0.5, draw.random(40) < 0.5):
        case = Case([*operands(2, queries, 40, 32), mask, None], settings(2, causal), 3)
        check_attention(case, dtype)


def test_queries_before_the_first_key_attend_to_all_keys_equally() -> None:
    check_attention(Case([*operands(1, 70, 20, 32), None, None], settings(2), 3), "float32")


def test_large_scores_do_not_overflow() -> None:
    q, k, v = operands(1, 40, 40, 16)
    check_attention(Case([10.0 * q, 10.0 * k, v, None, None], settings(1), 3), "float32", factor=10.0)  # type: ignore[operator]
    qkv = numpy.full((1, 4, 48), 1e4, numpy.float32)
    out, _ = KERNELS["packed_attention"].forward(fake_cupy.asarray(qkv), None, None, **settings(1))
    numpy.testing.assert_allclose(out, 1e4, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "unaligned", "every_second"])
def test_packed_operands_in_every_layout(layout: str, dtype: str) -> None:
    skip_without(dtype)
    draw = Draw()
    for qkv, heads in ((draw(2, 33, 3 * 32), 2), (draw(1, 20, 3 * 12), 1)):
        check_attention(Case([qkv, None, KEY], settings(heads, p=0.2)), dtype, "packed_attention", layout)


def test_only_needed_gradients_are_returned() -> None:
    arrays = on_device([*operands(1, 5, 5, 16), None, None], "float32")
    out, residuals = KERNELS["attention"].forward(*arrays, **settings(1))
    backward = KERNELS["attention"].backward
    assert backward is not None
    grads = backward(out, residuals, arrays, (True, False, False, False, False), **settings(1))
    assert [grad is not None for grad in grads] == [True, False, False, False, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 300), (4, 129)])
def test_few_queries_split_the_keys_over_thread_blocks(queries: int, keys: int, dtype: str) -> None:
    skip_without(dtype)
    for heads, width in ((2, 32), (1, 100), (1, 128), (3, 24)):
        fake_cupy.state.launches.clear()
        case = Case([*operands(2, queries, keys, width), None, None], settings(heads), 3)
        check_attention(case, dtype)
        assert {"attention_decode", "attention_join"} <= set(fake_cupy.state.launches)


@pytest.mark.parametrize(("dtype", "capability", "tensor"), [("float16", "75", 1), ("float16", "70", 0), ("bfloat16", "75", 0)])
def test_gpus_without_the_instruction_do_not_use_tensor_cores(
    dtype: str, capability: str, tensor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without(dtype)
    variants = []
    launch = MODULE._flash.launch
    monkeypatch.setattr(MODULE._flash, "launch", lambda *args, **macros: (variants.append(macros["TENSOR"]), launch(*args, **macros)))
    fake_cupy.state.capability = capability
    check_attention(Case([*operands(1, 20, 20, 16), None, None], settings(1), 3), dtype)
    assert set(variants) == {tensor}


def test_unsupported_calls_use_the_portable_version() -> None:
    forward = KERNELS["attention"].forward
    assert forward(*on_device([*operands(1, 2, 2, 260), None, None], "float32"), **settings(2)) is NotImplemented  # heads of 130
    assert forward(*on_device([*operands(1, 2, 2, 8), None, None], "float64"), **settings(2)) is NotImplemented
    assert forward(*on_device([*operands(0, 2, 2, 8), None, None], "float32"), **settings(2)) is NotImplemented


def test_the_full_matrix_of_weights_is_never_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    empty = MODULE.empty
    monkeypatch.setattr(MODULE, "empty", lambda shape, dtype: (shapes.append(shape), empty(shape, dtype))[1])
    qkv = fake_cupy.asarray(Draw()(1, 100, 48), "float16")
    out, residuals = KERNELS["packed_attention"].forward(qkv, None, None, **settings(1))
    backward = KERNELS["packed_attention"].backward
    assert backward is not None
    backward(out, residuals, (qkv, None, None), (True, False, False), **settings(1))
    assert max(int(numpy.prod(shape)) for shape in shapes) == 100 * 48  # the size of the gradient


def test_the_residuals_are_row_maxima_and_sums() -> None:
    q, k, v = on_device(operands(1, 9, 9, 16), "float32")
    out, (kept, row_max, row_sum) = KERNELS["attention"].forward(q, k, v, None, None, **settings(1, causal=False))
    assert kept is out
    _, weights = OPERATIONS["attention"].forward(numpy, *to_float64([q, k, v]), None, None, **settings(1, causal=False))
    assert_close(1.0 / row_sum, weights.max(axis=-1), 1e-5)
    assert row_max.shape == (1, 1, 9)
