"""The memory layout of images: arrays of shape (N, C, H, W) that are stored as (H, C, W, N).

Only the strides differ from the default layout, and numpy's elementwise functions preserve them. With the batch axis innermost, a sliding
window copies long contiguous runs. With the height axis outermost, several rows of all channels are contiguous.
"""

from __future__ import annotations

import numpy

from tinytorch.backend.contract import Array

Pair = tuple[int, int]

#: Number of images that are transposed at a time. More do not fit in the cache, because their strides are often powers of 2.
_IMAGES_PER_COPY = 16


def rows_first(x: Array) -> Array:
    """``x (N, C, H, W)`` as contiguous (H, C, W, N), without a copy if it is already stored in this order."""
    transposed = x.transpose(2, 1, 3, 0)
    if transposed.flags.c_contiguous:
        return transposed
    out = numpy.empty(transposed.shape, x.dtype)
    for start in range(0, len(x), _IMAGES_PER_COPY):
        out[..., start : start + _IMAGES_PER_COPY] = transposed[..., start : start + _IMAGES_PER_COPY]
    return out


def batch_first(rows: Array) -> Array:
    """View (H, C, W, N) as (N, C, H, W)."""
    return rows.transpose(3, 1, 0, 2)


def padded(rows: Array, padding: Pair, value: float) -> Array:
    """``rows (H, C, W, N)`` with ``value`` around each image: (H + 2 ph, C, W + 2 pw, N)."""
    if padding == (0, 0):
        return rows
    height, channels, width, count = rows.shape
    out = numpy.full((height + 2 * padding[0], channels, width + 2 * padding[1], count), value, rows.dtype)
    cropped(out, padding)[...] = rows
    return out


def cropped(rows: Array, padding: Pair) -> Array:
    """View of ``rows`` without the padding."""
    (top, left), (height, _, width, _) = padding, rows.shape
    return rows[top : height - top, :, left : width - left]


def window_counts(rows: Array, kernel: Pair, stride: Pair) -> Pair:
    """Number of windows along height and width of padded ``rows``."""
    return (rows.shape[0] - kernel[0]) // stride[0] + 1, (rows.shape[2] - kernel[1]) // stride[1] + 1


def first_inside(index: Array, kernel: Pair, stride: Pair, padding: Pair) -> None:
    """Fill ``index (Ho, C, Wo, N)`` with the flat index, within each window, of its first element inside the image."""
    skipped_rows, skipped_columns = (
        numpy.maximum(pad - step * numpy.arange(count), 0)
        for pad, step, count in zip(padding, stride, (index.shape[0], index.shape[2]), strict=True)
    )
    index[...] = (skipped_rows[:, None] * kernel[1] + skipped_columns)[:, None, :, None]


def steps(first: int, stride: int, count: int) -> slice:
    """Slice of ``count`` elements from ``first`` on, ``stride`` apart."""
    return slice(first, first + stride * (count - 1) + 1, stride)
