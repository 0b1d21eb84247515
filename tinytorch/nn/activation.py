"""Activation functions as layers: each acts on every element alone, but for softmax."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.array_api import tanh
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor


class ReLU(Module):
    """``max(x, 0)``, element by element; the derivative at 0 is taken to be 0."""

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class Tanh(Module):
    """Hyperbolic tangent, element by element."""

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``, element by element, computed from tanh so that it cannot overflow."""

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * tanh(0.5 * x) + 0.5


class SiLU(Module):
    """Sigmoid linear unit, or swish: ``x * sigmoid(x)``, element by element (Elfwing et al. 2018, arXiv:1702.03118, section 2)."""

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return x * (0.5 * tanh(0.5 * x) + 0.5)


class GELU(Module):
    """Gaussian error linear unit (Hendrycks and Gimpel 2016); ``approximate="tanh"`` is the form that GPT-2 uses."""

    batch_independent = True

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return ops.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """Exponentials that sum to 1 along ``dim``."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
