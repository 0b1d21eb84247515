"""Dropout; see ``dropout.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.elementwise import elementwise
from tinytorch_cupy.kernels.launch import FLOATS, Source, contiguous, takes, variants

_source = Source("dropout", variants(ELEMENT=FLOATS))


def share(p: float) -> tuple[numpy.int32, numpy.float32]:
    """How many of 2^31 values of the random bits mean that an element is dropped, and the factor for the others."""
    return numpy.int32(int(p * 2**31)), numpy.float32(1.0 / (1.0 - p))


def _forward(x: Array, key: Array, *, p: float, site: int, first: int = 0) -> Any:
    """x with a share ``p`` of its elements set to 0 and the others divided by ``1 - p``; ``key (2)``, ``site`` and ``first`` say which."""
    if not takes(x) or key.dtype.name != "int32" or not 0.0 <= p < 1.0:
        return NotImplemented
    return elementwise(_source, "dropout", x, rest=(contiguous(key), numpy.int32(site), numpy.uint32(first & 0xFFFFFFFF), *share(p))), None


def _backward(
    g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Array | None]:
    return [_forward(g, inputs[1], p=p, site=site, first=first)[0], None]


dropout = Kernel(_forward, _backward)
