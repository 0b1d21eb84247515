"""Pooling: the maximum or mean of each window of a feature map."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.ops.windows import Pair, add_at, cropped, first_inside, padded, window_counts, window_slices
from tinytorch.tensor import Tensor


def _counts(x: Any, kernel_size: Pair, stride: Pair, padding: Pair) -> Pair:
    return window_counts((x.shape[2], x.shape[3]), kernel_size, stride, padding)


def _padded_zeros(xp: Any, x: Any, padding: Pair, dtype: Any) -> Any:
    n, c, height, width = x.shape
    return xp.zeros((n, c, height + 2 * padding[0], width + 2 * padding[1]), dtype=dtype)


@fused_operation
def max_pool2d(xp: Any, x: Any, *, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Tensor, Any]:
    """The maximum of each window. The gradient goes to the first of equal elements, as in PyTorch.

    Args:
        x: images, (N, C, H, W).
        kernel_size: size of a window, vertical and horizontal.
        stride: distance between windows, vertical and horizontal.
        padding: rows and columns of ``-inf`` added on each side.

    Returns:
        (N, C, Ho, Wo). The residuals are the index of the maximum in its window, in row-major order.

    Example:
        >>> x = tt.asarray([[[[1.0, 2.0], [4.0, 3.0]]]])
        >>> tt.ops.max_pool2d(x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)).item()
        4.0
    """
    image, counts = padded(xp, x, padding, -inf), _counts(x, kernel_size, stride, padding)
    first = first_inside(xp, kernel_size, stride, padding, counts) if any(padding) else None
    out: Any = None
    index: Any = None
    for k, where in enumerate(window_slices(kernel_size, stride, counts)):
        element = image[(slice(None), slice(None), *where)]
        if k == 0:
            out, index = element, xp.zeros(element.shape, dtype=xp.int32)
        else:
            larger = (element > out) | (element != element)  # NaN is the maximum
            if first is not None:
                larger = larger | (first == k)  # a -inf of the image is chosen before one of the padding
            out = xp.where(larger, element, out)
            index = xp.where(larger, k, index)
    return out, index


@max_pool2d.joint_derivative
def _max_backward(
    xp: Any, g: Any, index: Any, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Any]:
    (x,) = inputs
    wide = upcast(xp, g)
    out = _padded_zeros(xp, x, padding, wide.dtype)
    for k, where in enumerate(window_slices(kernel_size, stride, _counts(x, kernel_size, stride, padding))):
        out = add_at(xp, out, where, xp.where(index == k, wide, xp.zeros_like(wide)))
    return [downcast(xp, cropped(out, (x.shape[2], x.shape[3]), padding), x)]


@fused_operation
def avg_pool2d(xp: Any, x: Any, *, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Tensor, None]:
    """The mean of each window. Padded zeros are included in the mean, as in PyTorch.

    Args:
        x: images, (N, C, H, W).
        kernel_size: size of a window, vertical and horizontal.
        stride: distance between windows, vertical and horizontal.
        padding: rows and columns of zeros added on each side.

    Returns:
        (N, C, Ho, Wo).

    Example:
        >>> x = tt.asarray([[[[1.0, 2.0], [4.0, 3.0]]]])
        >>> tt.ops.avg_pool2d(x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)).item()
        2.5
    """
    image = padded(xp, upcast(xp, x), padding, 0.0)
    total: Any = 0.0
    for where in window_slices(kernel_size, stride, _counts(x, kernel_size, stride, padding)):
        total = total + image[(slice(None), slice(None), *where)]
    return downcast(xp, total * (1.0 / (kernel_size[0] * kernel_size[1])), x), None


@avg_pool2d.joint_derivative
def _avg_backward(
    xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, kernel_size: Pair, stride: Pair, padding: Pair
) -> list[Any]:
    (x,) = inputs
    scaled = upcast(xp, g) * (1.0 / (kernel_size[0] * kernel_size[1]))
    out = _padded_zeros(xp, x, padding, scaled.dtype)
    for where in window_slices(kernel_size, stride, _counts(x, kernel_size, stride, padding)):
        out = add_at(xp, out, where, scaled)
    return [downcast(xp, cropped(out, (x.shape[2], x.shape[3]), padding), x)]
