"""Pooling of images that are stored as (H, C, W, N); see `tinytorch_numpy.kernels.images`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.images import Pair, batch_first, cropped, first_inside, padded, rows_first, steps, window_counts
from tinytorch_numpy.kernels.random_bits import apply_bits
from tinytorch_numpy.kernels.support import supports


def _window_elements(rows: Array, kernel: Pair, stride: Pair) -> Iterator[Array]:
    """Yield, for each position in a window in row-major order, a view (Ho, C, Wo, N) of that element of all windows."""
    height, width = window_counts(rows, kernel, stride)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield rows[steps(i, stride[0], height), :, steps(j, stride[1], width)]


def _scatter(x: Array, element_grads: Iterator[Array], kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """The gradient of ``x (N, C, H, W)``, given the gradients of each element of all windows."""
    count, channels, height, width = x.shape
    rows = numpy.zeros((height + 2 * padding[0], channels, width + 2 * padding[1], count), x.dtype)
    disjoint = stride[0] >= kernel[0] and stride[1] >= kernel[1]
    for element, element_grad in zip(_window_elements(rows, kernel, stride), element_grads, strict=True):
        if disjoint:
            element[...] = element_grad
        else:
            element += element_grad
    return batch_first(cropped(rows, padding))


def _max_forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The maximum of each window of ``x (N, C, H, W)``: (N, C, Ho, Wo).

    Residuals: the index of the maximum within its window, the first one if several are equal.
    """
    if not supports(x) or x.size == 0 or kernel_size[0] * kernel_size[1] > 256:
        return NotImplemented
    elements = _window_elements(padded(rows_first(x), padding, -inf), kernel_size, stride)
    out = next(elements).copy()
    index = numpy.zeros(out.shape, numpy.uint8)
    if any(padding):
        first_inside(index, kernel_size, stride, padding)
    for k, element in enumerate(elements, start=1):
        larger = numpy.greater(element, out) | numpy.isnan(element)
        numpy.maximum(index, numpy.multiply(larger.view(numpy.uint8), k), out=index)  # k only increases
        numpy.maximum(out, element, out=out)
    return batch_first(out), index


def _max_backward(
    g: Array, index: Array, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    g_rows = rows_first(g)

    def element_grads() -> Iterator[Array]:
        element_grad = numpy.empty_like(g_rows)
        for k in range(kernel_size[0] * kernel_size[1]):
            apply_bits(g_rows, numpy.negative((index == k).view(numpy.int8)), element_grad)
            yield element_grad

    return [_scatter(inputs[0], element_grads(), kernel_size, stride, padding)]


def _avg_forward(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair) -> Any:
    """The mean of each window of ``x (N, C, H, W)``, including padding: (N, C, Ho, Wo)."""
    if not supports(x) or x.size == 0:
        return NotImplemented
    elements = _window_elements(padded(rows_first(x), padding, 0.0), kernel_size, stride)
    out = next(elements).copy()
    for element in elements:
        out += element
    out *= 1.0 / (kernel_size[0] * kernel_size[1])
    return batch_first(out), None


def _avg_backward(
    g: Array, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Array | None]:
    count = kernel_size[0] * kernel_size[1]
    element_grad = rows_first(g) * (1.0 / count)
    return [_scatter(inputs[0], iter([element_grad] * count), kernel_size, stride, padding)]


max_pool2d = Kernel(_max_forward, _max_backward)
avg_pool2d = Kernel(_avg_forward, _avg_backward)
