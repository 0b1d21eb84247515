"""Memory layout of images, band matrices and shards of convolutions. test_kernels.py tests values in general."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy
import pytest

from tinytorch.ops import conv2d as portable, max_pool2d as portable_max_pool2d
from tinytorch_numpy import threads
from tinytorch_numpy.kernels import KERNELS
from tinytorch_numpy.kernels.images import batch_first, cropped, padded, rows_first

#: Settings whose first windows start in the padding.
PADDED = [
    {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    for kernel_size, stride, padding in [((2, 2), (2, 2), (1, 1)), ((3, 2), (1, 1), (1, 1)), ((4, 4), (3, 3), (2, 1))]
]


def images(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(0).standard_normal(shape).astype(numpy.float32)


@pytest.mark.parametrize("count", [0, 1, 16, 37])
def test_rows_first_and_batch_first_are_inverse(count: int) -> None:
    x = images(count, 3, 4, 5)
    rows = rows_first(x)
    assert rows.flags.c_contiguous
    numpy.testing.assert_array_equal(batch_first(rows), x)


def test_images_stored_rows_first_are_not_copied() -> None:
    rows = rows_first(images(2, 3, 4, 5))
    assert numpy.shares_memory(rows_first(batch_first(rows)), rows)


def test_padded_adds_a_border_to_each_image() -> None:
    rows = rows_first(images(2, 3, 4, 5))
    with_border = padded(rows, (1, 2), 7.0)
    assert with_border.shape == (6, 3, 9, 2)
    numpy.testing.assert_array_equal(cropped(with_border, (1, 2)), rows)
    assert (with_border[0] == 7.0).all()
    assert (with_border[:, :, :2] == 7.0).all()


@pytest.mark.parametrize("name", ["conv2d", "max_pool2d", "avg_pool2d"])
def test_outputs_are_stored_rows_first(name: str) -> None:
    x = images(4, 3, 8, 8)
    if name == "conv2d":
        out, _ = KERNELS[name].forward(x, images(2, 3, 3, 3), None, stride=(1, 1), padding=(0, 0))
    else:
        out, _ = KERNELS[name].forward(x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))
    assert numpy.shares_memory(rows_first(out), out)


@pytest.mark.parametrize("filters", [1, 4, 6, 16, 30])  # 5, 4, 4, 1 and 1 output rows per matmul
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_several_output_rows_per_matmul_match_the_portable_version(filters: int, stride: tuple[int, int]) -> None:
    inputs = (images(3, 2, 43, 9), images(filters, 2, 5, 5), images(filters))  # 39 output rows, 3 or 1 per matmul; 20, 5, 4 or 1 per matmul
    settings = {"stride": stride, "padding": (0, 0)}
    out, residuals = KERNELS["conv2d"].forward(*inputs, **settings)
    expected, _ = portable.forward(numpy, *inputs, **settings)
    numpy.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    backward = KERNELS["conv2d"].backward
    assert backward is not None
    assert portable.joint_rule is not None
    g = images(*out.shape)
    needs = (True, True, True)
    for ours, theirs in zip(
        backward(g, residuals, inputs, needs, **settings), portable.joint_rule(numpy, g, None, inputs, needs, **settings), strict=True
    ):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_mismatched_channels_use_the_portable_version_which_raises() -> None:
    settings = {"stride": (1, 1), "padding": (0, 0)}
    assert KERNELS["conv2d"].forward(images(1, 3, 4, 4), images(2, 4, 3, 3), None, **settings) is NotImplemented


def test_large_pooling_windows_use_the_portable_version() -> None:
    settings = {"kernel_size": (17, 17), "stride": (1, 1), "padding": (0, 0)}  # an index in such a window does not fit in a byte
    assert KERNELS["max_pool2d"].forward(images(1, 1, 20, 20), **settings) is NotImplemented


@pytest.mark.parametrize("kind", ["numpy", "numba"])
@pytest.mark.parametrize("settings", PADDED)
def test_padding_is_never_the_maximum_of_a_window(settings: dict[str, Any], kind: str) -> None:
    if kind == "numba" and find_spec("numba") is None:
        pytest.skip("numba is not installed: pip install 'tinytorch-xp[fast]'")
    kernel = KERNELS["max_pool2d"] if kind == "numpy" else import_module("tinytorch_numpy.compiled.max_pool2d").max_pool2d
    x = numpy.full((2, 3, 5, 5), -numpy.inf, numpy.float32)
    x[1, :, 3:, 3:] = images(2, 2)
    _, places = kernel.forward(x, **settings)
    _, expected = portable_max_pool2d.forward(numpy, x, **settings)
    numpy.testing.assert_array_equal(batch_first(places), expected)


@pytest.mark.parametrize("size", [(9, 7), (5, 5), (12, 6)])  # 3 output rows, 1, and 4 with an unused row of pixels
@pytest.mark.parametrize("count", [2, 3])
def test_a_sharded_convolution_matches_a_single_thread(size: tuple[int, int], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["tinytorch_numpy.kernels.conv2d"], "_MIN_PARALLEL_WORK", 0
    )  # the attribute conv2d of the package is the kernel, not the module
    inputs, settings = (images(3, 2, *size), images(4, 2, 5, 3), images(4)), {"stride": (2, 1), "padding": (0, 0)}
    kernel = KERNELS["conv2d"]
    assert kernel.backward is not None
    expected, residuals = kernel.forward(*inputs, **settings)
    g = images(*expected.shape)
    gradients = kernel.backward(g, residuals, inputs, (True, True, True), **settings)
    threads.use(count)
    try:
        out, residuals = kernel.forward(*inputs, **settings)
        sharded_grads = kernel.backward(g, residuals, inputs, (True, True, True), **settings)
    finally:
        threads.use(1)
    for actual, target in zip([out, *sharded_grads], [expected, *gradients], strict=True):
        numpy.testing.assert_allclose(actual, target, rtol=1e-5, atol=1e-5)
