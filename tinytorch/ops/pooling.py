"""Pooling: one number for each window of a feature map."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.ops.windows import Pair, add_at, cropped, first_inside, padded, places, window_counts
from tinytorch.tensor import Tensor


def _counts(x: Any, kernel_size: Pair, stride: Pair, padding: Pair) -> Pair:
    return window_counts((x.shape[2], x.shape[3]), kernel_size, stride, padding)


def _padded_zeros(xp: Any, x: Any, padding: Pair, dtype: Any) -> Any:
    n, c, height, width = x.shape
    return xp.zeros((n, c, height + 2 * padding[0], width + 2 * padding[1]), dtype=dtype)


@fused_operation
def max_pool2d(xp: Any, x: Any, *, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Tensor, Any]:
    """The largest element of each window of ``x (N, C, H, W)``: (N, C, Ho, Wo). Of equal ones the first counts, as in PyTorch.

    Residuals: which element of its window it is, counted row by row.
    """
    frame, counts = padded(xp, x, padding, -inf), _counts(x, kernel_size, stride, padding)
    first = first_inside(xp, kernel_size, stride, padding, counts) if any(padding) else None
    out: Any = None
    index: Any = None
    for k, place in enumerate(places(kernel_size, stride, counts)):
        part = frame[(slice(None), slice(None), *place)]
        if k == 0:
            out, index = part, xp.zeros(part.shape, dtype=xp.int32)
        else:
            larger = (part > out) | (part != part)  # a NaN counts as largest
            if first is not None:
                larger = larger | (first == k)  # -inf of the image comes before that of the padding
            out = xp.where(larger, part, out)
            index = xp.where(larger, k, index)
    return out, index


@max_pool2d.joint_derivative
def _max_backward(
    xp: Any, g: Any, index: Any, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Any]:
    (x,) = inputs
    wide = upcast(xp, g)
    out = _padded_zeros(xp, x, padding, wide.dtype)
    for k, place in enumerate(places(kernel_size, stride, _counts(x, kernel_size, stride, padding))):
        out = add_at(xp, out, place, xp.where(index == k, wide, xp.zeros_like(wide)))
    return [downcast(xp, cropped(out, (x.shape[2], x.shape[3]), padding), x)]


@fused_operation
def avg_pool2d(xp: Any, x: Any, *, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Tensor, None]:
    """The mean of each window of ``x (N, C, H, W)``: (N, C, Ho, Wo). Zeros that were padded count too, as in PyTorch."""
    frame = padded(xp, upcast(xp, x), padding, 0.0)
    total: Any = 0.0
    for place in places(kernel_size, stride, _counts(x, kernel_size, stride, padding)):
        total = total + frame[(slice(None), slice(None), *place)]
    return downcast(xp, total * (1.0 / (kernel_size[0] * kernel_size[1])), x), None


@avg_pool2d.joint_derivative
def _avg_backward(
    xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Any]:
    (x,) = inputs
    share = upcast(xp, g) * (1.0 / (kernel_size[0] * kernel_size[1]))
    out = _padded_zeros(xp, x, padding, share.dtype)
    for place in places(kernel_size, stride, _counts(x, kernel_size, stride, padding)):
        out = add_at(xp, out, place, share)
    return [downcast(xp, cropped(out, (x.shape[2], x.shape[3]), padding), x)]
