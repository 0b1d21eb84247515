"""Sliding windows over images, as described to the kernels of ``images.cu``."""

from __future__ import annotations

from typing import Any

import numpy

from tinytorch.backend.contract import Array
from tinytorch_cupy.kernels.launch import FLOATS, Source, blocks, variants

Pair = tuple[int, int]  #: (vertical, horizontal)

SOURCE = Source("images", variants(ELEMENT=FLOATS))

_THREADS = 256
_MAX_COUNT = 2**31 - 1024  # indices are 32-bit integers, including those of threads past the end
_FIELDS = ("batch", "channels", "height", "width", "rows", "columns", "kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x")
_WINDOWS = numpy.dtype([(name, "i4") for name in _FIELDS])


class Windows:
    """All windows of one size over images of ``shape`` (N, C, H, W).

    Attributes:
        shape: shape of the images.
        counts: number of windows along height and width.
        rows: number of elements of one window over all channels.
    """

    def __init__(self, shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> None:
        self.shape = shape
        self.rows = shape[1] * kernel[0] * kernel[1]
        self.counts = tuple([(shape[2 + i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(2)])
        self._struct = numpy.array([(*shape, *self.counts, *kernel, *stride, *padding)], _WINDOWS)

    @property
    def results(self) -> int:
        """Number of windows over all images and channels."""
        return self.shape[0] * self.shape[1] * self.counts[0] * self.counts[1]

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2] * self.shape[3]

    @property
    def is_supported(self) -> bool:
        """Whether there are pixels and windows, and few enough for 32-bit indices."""
        return 0 < self.pixels < _MAX_COUNT and 0 < self.results < _MAX_COUNT

    def launch(self, function: str, threads: int, *arrays: Array, rows: int = 1) -> None:
        """Launch ``function(arrays..., windows)`` with ``threads`` threads along x and ``rows`` blocks along y."""
        grid = (blocks(threads, _THREADS), rows)
        SOURCE.launch(function, grid, (_THREADS,), *arrays, self._struct, ELEMENT=arrays[0].dtype.name)


def rearrange(function: str, threads: int, *args: Any, like: Array) -> None:
    """Launch a kernel that has no parameter for windows."""
    SOURCE.launch(function, (blocks(threads, _THREADS),), (_THREADS,), *args, ELEMENT=like.dtype.name)
