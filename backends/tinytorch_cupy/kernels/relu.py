"""ReLU; see ``relu.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.elementwise import elementwise
from tinytorch_cupy.kernels.launch import FLOATS, Source, supports, variants

_source = Source("relu", variants(ELEMENT=FLOATS))


def _forward(x: Array) -> Any:
    """``max(x, 0)``; NaN stays NaN."""
    return (elementwise(_source, "relu_forward", x), None) if supports(x) else NotImplemented


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool]) -> list[Array | None]:
    return [elementwise(_source, "relu_backward", g, inputs[0])]


relu = Kernel(_forward, _backward)
