"""Images in memory as (H, C, W, N), row of pixels after row of pixels.

To everybody else they are (N, C, H, W): the order of the dimensions stays, only the strides differ, and element by element work keeps
them as they are. With the batch last, whatever slides over images moves long runs of numbers; with the rows first, some rows of all
channels are one block of memory.
"""

from __future__ import annotations

import numpy

from tinytorch.backend.contract import Array

Pair = tuple[int, int]

#: Images that are turned at once. More of them do not fit in the cache, as their strides are often a power of 2.
_TURNED = 16


def rows_first(x: Array) -> Array:
    """``x (N, C, H, W)`` as contiguous (H, C, W, N), its own memory where it lies so already."""
    turned = x.transpose(2, 1, 3, 0)
    if turned.flags.c_contiguous:
        return turned
    out = numpy.empty(turned.shape, x.dtype)
    for start in range(0, len(x), _TURNED):
        out[..., start : start + _TURNED] = turned[..., start : start + _TURNED]
    return out


def batch_first(rows: Array) -> Array:
    """(H, C, W, N) as a view (N, C, H, W)."""
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
    """A view of what is inside the padding."""
    (top, left), (height, _, width, _) = padding, rows.shape
    return rows[top : height - top, :, left : width - left]


def window_counts(rows: Array, kernel: Pair, stride: Pair) -> Pair:
    """How many windows there are in each direction of padded ``rows``."""
    return (rows.shape[0] - kernel[0]) // stride[0] + 1, (rows.shape[2] - kernel[1]) // stride[1] + 1


def first_inside(index: Array, kernel: Pair, stride: Pair, padding: Pair) -> None:
    """Fill ``index (Ho, C, Wo, N)`` with which element of its window, counted row by row, is the first that lies in the image."""
    down, right = (
        numpy.maximum(pad - step * numpy.arange(count), 0)
        for pad, step, count in zip(padding, stride, (index.shape[0], index.shape[2]), strict=True)
    )
    index[...] = (down[:, None] * kernel[1] + right)[:, None, :, None]


def steps(first: int, stride: int, count: int) -> slice:
    """``count`` places from ``first`` on."""
    return slice(first, first + stride * (count - 1) + 1, stride)
