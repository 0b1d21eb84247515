"""The activation functions of `tinytorch.nn.functional`."""

from __future__ import annotations

from typing import Literal

from tinytorch import ops
from tinytorch.array_api.logistic import sigmoid as sigmoid
from tinytorch.array_api.powers import logaddexp
from tinytorch.array_api.searching import where
from tinytorch.array_api.softmax_functions import log_softmax as log_softmax_over, softmax as softmax_over
from tinytorch.array_api.trigonometry import tanh as tanh
from tinytorch.tensor import Tensor


def assigned(input: Tensor, out: Tensor, inplace: bool) -> Tensor:
    """``out``, or with ``inplace`` the input after it was assigned ``out``."""
    if inplace:
        input[...] = out
        return input
    return out


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Rectified linear unit, ``max(x, 0)``, element-wise.

    Args:
        input: any shape.
        inplace: assign the result to ``input`` too.

    Example:
        >>> nn.functional.relu(tt.asarray([-1.0, 2.0]))
        Tensor([0., 2.], dtype=float32, device='numpy:cpu')
    """
    return assigned(input, ops.relu(input), inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` if x is positive and ``negative_slope * x`` otherwise, element-wise (Maas et al. 2013, section 2).

    Args:
        input: any shape.
        negative_slope: the factor for negative numbers.
        inplace: assign the result to ``input`` too.

    Example:
        >>> nn.functional.leaky_relu(tt.asarray([-1.0, 2.0]), 0.5)
        Tensor([-0.5,  2. ], dtype=float32, device='numpy:cpu')
    """
    return assigned(input, where(input > 0, input, negative_slope * input), inplace)


def gelu(input: Tensor, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """Gaussian error linear unit, element-wise (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Args:
        input: any shape.
        approximate: ``"none"`` for the exact function, or ``"tanh"`` for the approximation that GPT-2 uses.

    Example:
        >>> nn.functional.gelu(tt.asarray([0.0, 100.0]))
        Tensor([  0., 100.], dtype=float32, device='numpy:cpu')
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: `approximate` must be 'none' or 'tanh', got {approximate!r}")
    return ops.gelu(input, approximate=approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Sigmoid linear unit (swish), ``x * sigmoid(x)``, element-wise (Elfwing et al. 2018, arXiv:1702.03118, section 2).

    Args:
        input: any shape.
        inplace: assign the result to ``input`` too.

    Example:
        >>> nn.functional.silu(tt.asarray([0.0, 100.0]))
        Tensor([  0., 100.], dtype=float32, device='numpy:cpu')
    """
    return assigned(input, input * sigmoid(input), inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``, element-wise (Dugas et al. 2001).

    Args:
        input: any shape.
        beta: sharpness.
        threshold: above ``beta * x == threshold`` the result is x itself.

    Example:
        >>> nn.functional.softplus(tt.asarray([100.0]))
        Tensor([100.], dtype=float32, device='numpy:cpu')
    """
    scaled = beta * input
    return where(scaled > threshold, input, logaddexp(scaled, 0.0) / beta)


def logsigmoid(input: Tensor) -> Tensor:
    """The logarithm of `sigmoid`, element-wise, accurate where it is small.

    Args:
        input: any shape.

    Example:
        >>> nn.functional.logsigmoid(tt.asarray([-100.0]))
        Tensor([-100.], dtype=float32, device='numpy:cpu')
    """
    return -logaddexp(-input, 0.0)


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """Softmax along ``dim``.

    Args:
        input: logits of any shape.
        dim: the axis whose elements sum to 1; required, since PyTorch's choice without it depends on the shape.

    Example:
        >>> nn.functional.softmax(tt.zeros((1, 4)), dim=-1)
        Tensor([[0.25, 0.25, 0.25, 0.25]], dtype=float32, device='numpy:cpu')
    """
    return softmax_over(input, axis=_required("softmax", dim))


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """The logarithm of `softmax` along ``dim``.

    Args:
        input: logits of any shape.
        dim: the axis whose probabilities sum to 1; required.

    Example:
        >>> nn.functional.log_softmax(tt.asarray([0.0, 1000.0]), dim=0)
        Tensor([-1000.,     0.], dtype=float32, device='numpy:cpu')
    """
    return log_softmax_over(input, axis=_required("log_softmax", dim))


def _required(name: str, dim: int | None) -> int:
    if dim is None:
        raise TypeError(f"{name}: `dim` is required; write {name}(x, dim=-1) for the last axis")
    return dim
