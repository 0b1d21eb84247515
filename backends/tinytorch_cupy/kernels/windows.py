"""What the kernels of ``images.cu`` are told of windows that slide over images."""

from __future__ import annotations

from typing import Any

import numpy

from tinytorch.backend.contract import Array
from tinytorch_cupy.kernels.launch import FLOATS, Source, blocks, variants

Pair = tuple[int, int]  #: of the vertical and the horizontal direction

SOURCE = Source("images", variants(ELEMENT=FLOATS))

_THREADS = 256
_LIMIT = 2**31 - 1024  # the kernels count in 32 bits, threads beyond the end too
_FIELDS = ("batch", "channels", "height", "width", "rows", "columns", "kernel_y", "kernel_x", "stride_y", "stride_x", "pad_y", "pad_x")
_WINDOWS = numpy.dtype([(name, "i4") for name in _FIELDS])


class Windows:
    """All windows of one size over images of ``shape`` (N, C, H, W).

    Attributes:
        shape: of the images.
        counts: how many windows there are in each direction.
        rows: how many elements the windows at one place of all channels have.
    """

    def __init__(self, shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> None:
        self.shape = shape
        self.rows = shape[1] * kernel[0] * kernel[1]
        self.counts = tuple([(shape[2 + i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(2)])
        self._packed = numpy.array([(*shape, *self.counts, *kernel, *stride, *padding)], _WINDOWS)

    @property
    def results(self) -> int:
        """How many windows there are in all images and channels."""
        return self.shape[0] * self.shape[1] * self.counts[0] * self.counts[1]

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2] * self.shape[3]

    @property
    def countable(self) -> bool:
        """Whether there is something to do, and not too much to count."""
        return 0 < self.pixels < _LIMIT and 0 < self.results < _LIMIT

    def launch(self, function: str, threads: int, *arrays: Array, rows: int = 1) -> None:
        """Run a kernel that takes arrays and then the windows, in ``rows`` rows of so many ``threads``."""
        grid = (blocks(threads, _THREADS), rows)
        SOURCE.launch(function, grid, (_THREADS,), *arrays, self._packed, ELEMENT=arrays[0].dtype.name)


def rearrange(function: str, threads: int, *args: Any, like: Array) -> None:
    """Run a kernel that knows nothing of windows."""
    SOURCE.launch(function, (blocks(threads, _THREADS),), (_THREADS,), *args, ELEMENT=like.dtype.name)
