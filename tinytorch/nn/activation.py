"""Activation functions as layers: all are element-wise except `Softmax` and `LogSoftmax`."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.array_api import log_softmax, sigmoid, tanh, where
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor


class _InPlace(Module):
    """Base class of the activations that take ``inplace``."""

    batch_independent = True
    data_arguments = 1

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class ReLU(_InPlace):
    """Rectified linear unit, ``max(x, 0)``, element-wise. The derivative at 0 is 0.

    Args:
        inplace: accepted as in PyTorch, where it saves memory; it has no effect, since a Tensor is never overwritten.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.ReLU()(tt.asarray([-1.0, 2.0]))
        Tensor([0., 2.], dtype=float32, device='numpy:cpu')
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class LeakyReLU(_InPlace):
    """``x`` where x is positive and ``negative_slope * x`` elsewhere (Maas et al. 2013, ICML, equation 4).

    Args:
        negative_slope: slope for negative x; also the derivative at 0.
        inplace: as for `ReLU`.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.LeakyReLU(0.1)(tt.asarray([-1.0, 2.0]))
        Tensor([-0.1,  2. ], dtype=float32, device='numpy:cpu')
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return where(x > 0, x, self.negative_slope * x)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Tanh(Module):
    """Hyperbolic tangent, element-wise.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.Tanh()(tt.asarray([0.0, 100.0]))
        Tensor([0., 1.], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True
    data_arguments = 1

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """Logistic sigmoid, ``1 / (1 + exp(-x))``, element-wise, without overflow.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.Sigmoid()(tt.asarray([0.0, 100.0]))
        Tensor([0.5, 1. ], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True
    data_arguments = 1

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)


class SiLU(_InPlace):
    """Sigmoid linear unit (swish), ``x * sigmoid(x)``, element-wise (Elfwing et al. 2018, arXiv:1702.03118, section 2).

    Args:
        inplace: as for `ReLU`.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.SiLU()(tt.asarray([0.0, 100.0]))
        Tensor([  0., 100.], dtype=float32, device='numpy:cpu')
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * sigmoid(x)


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
    data_arguments = 1

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

    data_arguments = 1

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return ops.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Logarithm of `Softmax`, computed without overflow: ``x - log(sum(exp(x)))`` along one axis.

    Args:
        dim: axis to normalize over. Defaults to the last.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.LogSoftmax()(tt.asarray([[1000.0, 0.0]]))
        Tensor([[    0., -1000.]], dtype=float32, device='numpy:cpu')
    """

    data_arguments = 1

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return log_softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
