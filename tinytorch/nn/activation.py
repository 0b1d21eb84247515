"""Activation functions as layers: all are element-wise except `Softmax`."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.array_api import tanh
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor


class ReLU(Module):
    """Rectified linear unit, ``max(x, 0)``, element-wise. The derivative at 0 is 0.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.ReLU()(tt.asarray([-1.0, 2.0]))
        Tensor([0., 2.], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class Tanh(Module):
    """Hyperbolic tangent, element-wise.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.Tanh()(tt.asarray([0.0, 100.0]))
        Tensor([0., 1.], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """Logistic sigmoid, ``1 / (1 + exp(-x))``, element-wise. It is computed from tanh, so it cannot overflow.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.Sigmoid()(tt.asarray([0.0, 100.0]))
        Tensor([0.5, 1. ], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * tanh(0.5 * x) + 0.5


class SiLU(Module):
    """Sigmoid linear unit (swish), ``x * sigmoid(x)``, element-wise (Elfwing et al. 2018, arXiv:1702.03118, section 2).

    Shape:
        (...) -> (...).

    Example:
        >>> nn.SiLU()(tt.asarray([0.0, 100.0]))
        Tensor([  0., 100.], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True

    def forward(self, x: Tensor) -> Tensor:
        return x * (0.5 * tanh(0.5 * x) + 0.5)


class GELU(Module):
    """Gaussian error linear unit, element-wise (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Args:
        approximate: ``"none"`` for the exact function, or ``"tanh"`` for the approximation that GPT-2 uses.

    Shape:
        (...) -> (...).

    Raises:
        ValueError: ``approximate`` is unknown.

    Example:
        >>> nn.GELU(approximate="tanh")(tt.asarray([0.0, 100.0]))
        Tensor([  0., 100.], dtype=float32, device='numpy:cpu')
    """

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
    """Softmax, ``exp(x) / sum(exp(x))`` along one axis, so that the outputs along it sum to 1.

    Args:
        dim: axis to normalize over. Defaults to the last.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.Softmax()(tt.zeros((1, 4)))
        Tensor([[0.25, 0.25, 0.25, 0.25]], dtype=float32, device='numpy:cpu')
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
