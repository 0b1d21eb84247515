"""Convolution as one matrix product over unrolled windows (Chellapilla, Puri and Simard 2006, "High performance convolutional neural
networks for document processing", section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.ops.windows import Pair, add_at, cropped, padded, places, window_counts
from tinytorch.tensor import Tensor


def im2col(xp: Any, x: Any, *, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """The windows of ``x (N, C, H, W)`` as columns: (C kh kw, Ho Wo N), raw or a Tensor.

    Ho and Wo are how many windows there are in each direction. The batch comes last, so that the copies are of long runs.
    """
    n, c, height, width = x.shape
    counts = window_counts((height, width), kernel, stride, padding)
    x = padded(xp, x, padding, 0.0)
    parts = [xp.permute_dims(x[:, :, rows, columns], (1, 2, 3, 0)) for rows, columns in places(kernel, stride, counts)]
    unrolled = xp.stack(parts, axis=1)  # (C, kh kw, Ho, Wo, N)
    return xp.reshape(unrolled, (c * kernel[0] * kernel[1], counts[0] * counts[1] * n))


def col2im(xp: Any, columns: Any, shape: tuple[int, int, int, int], *, kernel: Pair, stride: Pair, padding: Pair) -> Any:
    """The adjoint of `im2col`, on raw arrays: ``columns (C kh kw, Ho Wo N)`` summed into images of ``shape`` (N, C, H, W)."""
    n, c, height, width = shape
    counts = window_counts((height, width), kernel, stride, padding)
    parts = xp.reshape(columns, (c, kernel[0] * kernel[1], *counts, n))
    out = xp.zeros((n, c, height + 2 * padding[0], width + 2 * padding[1]), dtype=columns.dtype)
    for k, place in enumerate(places(kernel, stride, counts)):
        out = add_at(xp, out, place, xp.permute_dims(parts[:, k, :, :, :], (3, 0, 1, 2)))
    return cropped(out, (height, width), padding)


def _rows(xp: Any, weight: Any) -> Any:
    """(O, C, kh, kw) -> (O, C kh kw)."""
    o, c, kh, kw = weight.shape
    return xp.reshape(upcast(xp, weight), (o, c * kh * kw))


@fused_operation
def conv2d(xp: Any, x: Any, weight: Any, bias: Any, *, stride: Pair, padding: Pair) -> tuple[Tensor, None]:
    """``x (N, C, H, W)`` with each of the filters ``weight (O, C, kh, kw)``, plus ``bias (O)`` or ``None``: (N, O, Ho, Wo).

    It is the correlation that other frameworks call convolution: the filters are not flipped.
    """
    n, _, height, width = x.shape
    o, _, *kernel = weight.shape
    counts = window_counts((height, width), (kernel[0], kernel[1]), stride, padding)
    columns = im2col(xp, upcast(xp, x), kernel=(kernel[0], kernel[1]), stride=stride, padding=padding)
    out = xp.matmul(_rows(xp, weight), columns)
    if bias is not None:
        out = out + bias[:, None]
    out = xp.reshape(downcast(xp, out, x), (o, *counts, n))
    return xp.permute_dims(out, (3, 0, 1, 2)), None


@conv2d.joint_derivative
def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, stride: Pair, padding: Pair) -> list[Any]:
    x, weight, bias = inputs
    n, o, *counts = g.shape
    static = {"kernel": (weight.shape[2], weight.shape[3]), "stride": stride, "padding": padding}
    g_rows = xp.reshape(xp.permute_dims(upcast(xp, g), (1, 2, 3, 0)), (o, counts[0] * counts[1] * n))
    g_x = g_weight = None
    if needs[0]:
        g_x = downcast(xp, col2im(xp, xp.matmul(xp.matrix_transpose(_rows(xp, weight)), g_rows), x.shape, **static), x)
    if needs[1]:  # unrolled again: to keep the columns would take kh kw times the memory of x
        columns = im2col(xp, upcast(xp, x), **static)
        g_weight = xp.reshape(downcast(xp, xp.matmul(g_rows, xp.matrix_transpose(columns)), weight), weight.shape)
    return [g_x, g_weight, downcast(xp, xp.sum(g_rows, axis=1), bias) if needs[2] else None]
