"""Layers that act on each position alone: products, look-ups, normalisation, dropout, activations."""

from __future__ import annotations

import math
from typing import Any

from tinytorch import kernels, random
from tinytorch.array_api import asarray, astype, tanh
from tinytorch.device import Device
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
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

    entrywise = True

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
        return kernels.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}, bias={self.bias is not None}"


Dense = Linear


class Embedding(Module):
    """A table with a row for each id.

    Shape:
        whole numbers of any shape (...) -> (..., embedding_dim); ``weight`` is (num_embeddings, embedding_dim), standard normal at first.

    Ids that come as a numpy array are checked, and ``ValueError`` names the first that is out of range. A Tensor is not read for that: its
    ids out of range give rows of NaN.
    """

    entrywise = True

    weight: Parameter

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        checked_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = init.normal((num_embeddings, embedding_dim))

    def receive(self, array: Any, device: Device | None = None) -> Tensor:
        return checked_ids(array, self.weight.shape[0], self.weight.device)

    def forward(self, ids: Tensor) -> Tensor:
        return kernels.embedding(self.weight, as_index(ids))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


def checked_ids(array: Any, size: int, device: Device) -> Tensor:
    """Ids on ``device``, checked on the host: ``TypeError`` unless whole numbers, ``ValueError`` unless 0 <= id < size."""
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be whole numbers, got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() >= size):
        raise ValueError(f"ids must lie between 0 and {size - 1}, got {array[(array < 0) | (array >= size)][0]}")
    return asarray(array, dtype=device.backend.default_int, device=device)


def as_index(ids: Tensor) -> Tensor:
    """Whole numbers in a signed type of 32 bits or more, which can be compared with any size; ``TypeError`` for other numbers."""
    if ids.dtype.kind not in ("signed integer", "unsigned integer"):
        raise TypeError(f"expected whole numbers to look up, got {ids.dtype.name}; convert with tinytorch.astype(x, 'int64')")
    return ids if ids.dtype.name in ("int32", "int64") else astype(ids, ids.backend.default_int)


def checked_sizes(layer: str, **sizes: int) -> None:
    """Raise ``ValueError`` naming the first of ``sizes`` that is not 1 or more."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{layer} needs {name} of 1 or more, got {size}")


class LayerNorm(Module):
    """Normalises the last dimension to mean 0 and variance 1, then scales and shifts (Ba et al. 2016, arXiv:1607.06450).

    Shape:
        (..., d_model) -> the same; ``weight`` and ``bias`` are (d_model).
    """

    entrywise = True

    weight: Parameter
    bias: Parameter

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        checked_sizes("LayerNorm", d_model=d_model)
        self.eps = eps
        self.weight = init.constant((d_model,), 1.0)
        self.bias = init.constant((d_model,), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if x.shape[-1:] != weight.shape:
            raise ValueError(f"LayerNorm expects {weight.shape[0]} features in the last dimension, got shape {tuple(x.shape)}")
        return kernels.layer_norm(x, weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class Dropout(Module):
    """In training, sets a share ``p`` of the elements to 0 and divides the others by ``1 - p`` (Srivastava et al. 2014)."""

    entrywise = True

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = checked_share(p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        draws = random.draws(x.backend)
        return kernels.dropout(x, draws.key, p=self.p, **draws.place(x.size))

    def extra_repr(self) -> str:
        return f"p={self.p}"


def checked_share(p: float) -> float:
    """``p``, a share of 0 up to but not including 1; raises ``ValueError`` otherwise."""
    if not 0.0 <= p < 1.0:
        raise ValueError(f"dropout must be at least 0 and less than 1, got {p}")
    return float(p)


class ReLU(Module):
    """``max(x, 0)``, element by element; the derivative at 0 is taken to be 0."""

    entrywise = True

    def forward(self, x: Tensor) -> Tensor:
        return kernels.relu(x)


class Tanh(Module):
    """Hyperbolic tangent, element by element."""

    entrywise = True

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``, element by element, computed from tanh so that it cannot overflow."""

    entrywise = True

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * tanh(0.5 * x) + 0.5


class GELU(Module):
    """Gaussian error linear unit (Hendrycks and Gimpel 2016); ``approximate="tanh"`` is the form that GPT-2 uses."""

    entrywise = True

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return kernels.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """Exponentials that sum to 1 along ``dim``."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return kernels.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
