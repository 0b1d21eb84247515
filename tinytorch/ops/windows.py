"""Sliding windows over images: functions for convolution and pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinytorch.array_api.indexing import replaced

Pair = tuple[int, int]  #: vertical and horizontal

#: Vertical and horizontal slices of a padded image, which select one element of every window.
WindowSlices = tuple[slice, slice]


def window_counts(size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Pair:
    """The number of windows of size ``kernel`` in each direction of an image of ``size``, with ``padding`` on both sides.

    The elements of a window are ``dilation`` pixels apart.
    """
    return (
        (size[0] + 2 * padding[0] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1,
        (size[1] + 2 * padding[1] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1,
    )


def window_slices(kernel: Pair, stride: Pair, counts: Pair, dilation: Pair = (1, 1)) -> Iterator[WindowSlices]:
    """For each element of a window, in row-major order, the slices that select it in all windows of a padded image."""
    for i in range(0, dilation[0] * kernel[0], dilation[0]):
        for j in range(0, dilation[1] * kernel[1], dilation[1]):
            yield (
                slice(i, i + stride[0] * (counts[0] - 1) + 1, stride[0]),
                slice(j, j + stride[1] * (counts[1] - 1) + 1, stride[1]),
            )


def first_inside(xp: Any, kernel: Pair, stride: Pair, padding: Pair, counts: Pair) -> Any:
    """For each window the index, in row-major order, of its first element that is not padding: int32 (Ho, Wo)."""
    down, right = (
        xp.clip(pad - step * xp.arange(count, dtype=xp.int32), min=0) for pad, step, count in zip(padding, stride, counts, strict=True)
    )
    return down[:, None] * kernel[1] + right[None, :]


def padded(xp: Any, x: Any, padding: Pair, value: float) -> Any:
    """Pad ``x (N, C, H, W)``, a raw array or a Tensor, with ``value`` on all sides: (N, C, H + 2 ph, W + 2 pw)."""
    if padding == (0, 0):
        return x
    vertical, horizontal = padding
    n, c, height, width = x.shape
    background = xp.full((n, c, height + 2 * vertical, width + 2 * horizontal), value, dtype=x.dtype)
    inside = (slice(None), slice(None), slice(vertical, vertical + height), slice(horizontal, horizontal + width))
    return replaced(xp, background, inside, x)


def cropped(x: Any, size: Pair, padding: Pair) -> Any:
    """Remove padding: the inverse of `padded`, and also its adjoint. ``x`` has shape (N, C, H + 2 ph, W + 2 pw)."""
    if padding == (0, 0):
        return x
    return x[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def add_at(xp: Any, x: Any, where: WindowSlices, value: Any) -> Any:
    """Add ``value`` to the raw array ``x (N, C, H, W)`` at the given slices. ``x`` is donated."""
    from array_api_extra import at  # imported on first use, since it imports array_api_compat

    return at(x, (slice(None), slice(None), *where)).add(value, xp=xp)
