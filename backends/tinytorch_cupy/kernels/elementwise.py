"""Launching kernels that make one number of each number."""

from __future__ import annotations

from typing import Any

import numpy

from tinytorch.backend.contract import Array
from tinytorch_cupy.kernels.launch import Source, contiguous, empty, over


def elementwise(source: Source, function: str, *arrays: Array, rest: tuple[Any, ...] = ()) -> Array:
    """A new array from arrays of one shape: ``function(arrays..., out, count, rest...)``, in the type of the last of ``arrays``."""
    like = arrays[-1]
    out = empty(like.shape, like.dtype)
    if out.size:
        packs = -(-out.size // (16 // out.dtype.itemsize))  # a thread takes 16 bytes
        grid, block = over(packs)
        operands = [contiguous(array, like.dtype) for array in arrays]
        source.launch(function, grid, block, *operands, out, numpy.int64(out.size), *rest, ELEMENT=like.dtype.name)
    return out
