"""Dropout; see ``dropout.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.elementwise import elementwise
from tinytorch_cupy.kernels.launch import FLOATS, Source, contiguous, supports, variants

_source = Source("dropout", variants(ELEMENT=FLOATS))


def drop_parameters(p: float) -> tuple[numpy.int32, numpy.float32]:
    """The threshold of the 31 random bits, below which an element is dropped, and the factor for all others."""
    return numpy.int32(int(p * 2**31)), numpy.float32(1.0 / (1.0 - p))


def _forward(x: Array, key: Array, *, p: float, site: int, first: int = 0) -> Any:
    """Set each element of x to 0 with probability ``p``, else divide it by ``1 - p``. ``key``, ``site`` and ``first`` seed the mask."""
    if not supports(x) or key.dtype.name != "int32" or not 0.0 <= p < 1.0:
        return NotImplemented
    return elementwise(
        _source, "dropout", x, rest=(contiguous(key), numpy.int32(site), numpy.uint32(first & 0xFFFFFFFF), *drop_parameters(p))
    ), None


def _backward(
    g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Array | None]:
    return [_forward(g, inputs[1], p=p, site=site, first=first)[0], None]


dropout = Kernel(_forward, _backward)
