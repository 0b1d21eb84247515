"""GELU; see ``gelu.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_cupy.kernels.elementwise import elementwise
from tinytorch_cupy.kernels.launch import FLOATS, Source, supports, variants

_source = Source("gelu", variants(ELEMENT=FLOATS))


def _name(approximate: str) -> str:
    return "gelu_tanh" if approximate == "tanh" else "gelu"


def _forward(x: Array, *, approximate: str) -> Any:
    """``x cdf(x)``, with the cumulative distribution function of the normal distribution."""
    if not supports(x):
        return NotImplemented
    return elementwise(_source, f"{_name(approximate)}_forward", x), None


def _backward(g: Array, residuals: None, inputs: Sequence[Array], needs: Sequence[bool], *, approximate: str) -> list[Array | None]:
    return [elementwise(_source, f"{_name(approximate)}_backward", g, inputs[0])]


gelu = Kernel(_forward, _backward)
