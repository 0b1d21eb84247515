"""Launch elementwise kernels."""

from __future__ import annotations

from typing import Any

import numpy

from tinytorch.backend.contract import Array
from tinytorch_cupy.kernels.launch import Source, contiguous, empty, grid_stride


def elementwise(source: Source, function: str, *arrays: Array, rest: tuple[Any, ...] = ()) -> Array:
    """Launch ``function(arrays..., out, count, rest...)`` on arrays of equal shape; returns ``out``, in the dtype of the last array."""
    like = arrays[-1]
    out = empty(like.shape, like.dtype)
    if out.size:
        packs = -(-out.size // (16 // out.dtype.itemsize))  # a thread processes 16 bytes at a time
        grid, block = grid_stride(packs)
        operands = [contiguous(array, like.dtype) for array in arrays]
        source.launch(function, grid, block, *operands, out, numpy.int64(out.size), *rest, ELEMENT=like.dtype.name)
    return out
