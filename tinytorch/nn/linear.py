"""The linear layer."""

from __future__ import annotations

import math

from tinytorch import ops
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import checked_sizes
from tinytorch.tensor import Tensor


class Linear(Module):
    """``y = x W^T + b``.

    Args:
        in_features, out_features: lengths of the last dimension of input and output.
        bias: whether b is there.

    Shape:
        (..., in_features) -> (..., out_features); ``weight`` is (out_features, in_features), ``bias`` (out_features).

    Values start uniform in plus or minus 1 / sqrt(in_features), as in PyTorch.
    """

    batch_independent = True

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        checked_sizes("Linear", in_features=in_features, out_features=out_features)
        bound = 1.0 / math.sqrt(in_features)
        self.weight = init.uniform((out_features, in_features), bound)
        self.bias = init.uniform((out_features,), bound) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if x.shape[-1:] != weight.shape[1:]:
            raise ValueError(f"Linear expects {weight.shape[1]} features in the last dimension, got shape {tuple(x.shape)}")
        if not x.dtype.is_floating:
            raise TypeError(f"Linear expects floating-point numbers, got {x.dtype.name}; convert with tinytorch.astype(x, 'float32')")
        return ops.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}, bias={self.bias is not None}"


Dense = Linear
