"""The linear layer."""

from __future__ import annotations

import math

from tinytorch import ops
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import check_floating, check_positive
from tinytorch.tensor import Tensor


class Linear(Module):
    """A linear (dense) layer, ``y = x W^T + b``. `Dense` is another name for it.

    Args:
        in_features: size of the input's last axis.
        out_features: size of the output's last axis.
        bias: whether to add a bias b. Defaults to true.

    Shape:
        (..., in_features) -> (..., out_features).

    Attributes:
        weight: (out_features, in_features), initialized uniformly in [-k, k) with k = 1 / sqrt(in_features), as in PyTorch.
        bias: (out_features), initialized like ``weight``, or ``None``.

    Raises:
        TypeError: the input is not floating-point.
        ValueError: the size of the input's last axis is not ``in_features``.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> layer(tt.ones((4, 3))).shape
        (4, 2)
    """

    batch_independent = True
    data_arguments = 1

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        check_positive("Linear", in_features=in_features, out_features=out_features)
        bound = 1.0 / math.sqrt(in_features)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = init.uniform((out_features, in_features), bound)
        self.bias = init.uniform((out_features,), bound) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if x.shape[-1:] != weight.shape[1:]:
            raise ValueError(f"Linear expects {weight.shape[1]} features in the last axis, got shape {tuple(x.shape)}")
        check_floating("Linear", x)
        return ops.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


Dense = Linear
