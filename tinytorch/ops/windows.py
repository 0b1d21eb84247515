"""Windows that slide over images: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinytorch.array_api.indexing import replaced

Pair = tuple[int, int]  #: of the vertical and the horizontal direction

#: All rows, say, of an image that lie at one place of a window: slices of its vertical and its horizontal dimension.
Place = tuple[slice, slice]


def window_counts(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """How many windows of size ``kernel`` fit in each direction of images of ``size``, with ``padding`` on both sides."""
    return (
        (size[0] + 2 * padding[0] - kernel[0]) // stride[0] + 1,
        (size[1] + 2 * padding[1] - kernel[1]) // stride[1] + 1,
    )


def places(kernel: Pair, stride: Pair, counts: Pair) -> Iterator[Place]:
    """For each element of a window, row by row, where it lies in a padded image as the window slides."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield (
                slice(i, i + stride[0] * (counts[0] - 1) + 1, stride[0]),
                slice(j, j + stride[1] * (counts[1] - 1) + 1, stride[1]),
            )


def first_inside(xp: Any, kernel: Pair, stride: Pair, padding: Pair, counts: Pair) -> Any:
    """For each window, which of its elements, counted row by row, is the first that lies in the image: int32 (Ho, Wo)."""
    down, right = (
        xp.clip(pad - step * xp.arange(count, dtype=xp.int32), min=0) for pad, step, count in zip(padding, stride, counts, strict=True)
    )
    return down[:, None] * kernel[1] + right[None, :]


def padded(xp: Any, x: Any, padding: Pair, value: float) -> Any:
    """``x (N, C, H, W)``, raw or a Tensor, with ``value`` on all sides: (N, C, H + 2 ph, W + 2 pw)."""
    if padding == (0, 0):
        return x
    vertical, horizontal = padding
    n, c, height, width = x.shape
    frame = xp.full((n, c, height + 2 * vertical, width + 2 * horizontal), value, dtype=x.dtype)
    inside = (slice(None), slice(None), slice(vertical, vertical + height), slice(horizontal, horizontal + width))
    return replaced(xp, frame, inside, x)


def cropped(x: Any, size: Pair, padding: Pair) -> Any:
    """What `padded` was given, or the gradient of that: the middle of ``x (N, C, H + 2 ph, W + 2 pw)``."""
    if padding == (0, 0):
        return x
    return x[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def add_at(xp: Any, x: Any, place: Place, value: Any) -> Any:
    """The raw array ``x (N, C, H, W)``, given for good, with ``value`` added at a place."""
    from array_api_extra import at  # loaded on first use: it brings array_api_compat with it

    return at(x, (slice(None), slice(None), *place)).add(value, xp=xp)
