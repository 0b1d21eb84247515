"""Normalization layers: over features (layer normalization) and over the batch (batch normalization)."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.array_api import astype, full, mean, reshape, sqrt, square, zeros
from tinytorch.nn import init
from tinytorch.nn.convolution import check_images
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import checked_sizes
from tinytorch.tensor import Tensor


class LayerNorm(Module):
    """Normalises the last dimension to mean 0 and variance 1, then scales and shifts (Ba et al. 2016, arXiv:1607.06450).

    Shape:
        (..., d_model) -> the same; ``weight`` and ``bias`` are (d_model).
    """

    batch_independent = True

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
        return ops.layer_norm(x, weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class _BatchNorm(Module):
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Normalises each feature to mean 0 and variance 1 over all other dimensions, then scales and shifts it.

    In training the batch's own mean and variance are used (the paper's algorithm 1), and running averages of them kept: each step they
    move a share ``momentum`` towards the batch's. These are used in evaluation (algorithm 2).
    """

    weight: Parameter
    bias: Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        checked_sizes(type(self).__name__, num_features=num_features)
        self.eps = eps
        self.momentum = momentum
        self.weight = init.constant((num_features,), 1.0)
        self.bias = init.constant((num_features,), 0.0)
        self.register_buffer("running_mean", full((num_features,), 0.0, dtype="float32"))
        self.register_buffer("running_var", full((num_features,), 1.0, dtype="float32"))
        self.register_buffer("num_batches_tracked", zeros((), dtype=self.weight.backend.default_int))

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        wide = astype(x, "float32") if x.dtype.itemsize < 4 else x  # sums of 16-bit numbers are taken in 32 bits
        if self.training:
            centred, variance = self._batch_statistics(wide)
        else:
            centred, variance = wide - _along(self.running_mean, x), _along(self.running_var, x)
        scale = _along(self.weight, x) / sqrt(variance + self.eps)
        return astype(centred * scale + _along(self.bias, x), x.dtype)

    def check_input(self, x: Tensor) -> None:
        """Raise ``ValueError``, saying what is expected, for another shape."""
        raise NotImplementedError

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x less its mean, and its variance (1, C, 1, ...); the running averages take note of both."""
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError(
                f"{type(self).__name__} needs more than one value of each feature in training, got {tuple(x.shape)}; see eval()"
            )
        others = tuple(axis for axis in range(x.ndim) if axis != 1)
        average = mean(x, axis=others, keepdims=True)
        centred = x - average
        variance = mean(square(centred), axis=others, keepdims=True)
        self.running_mean = self._moved(self.running_mean, average)
        self.running_var = self._moved(self.running_var, variance * (count / (count - 1)))  # the estimate without bias, as the paper's
        self.num_batches_tracked = self.num_batches_tracked + 1
        return centred, variance

    def _moved(self, running: Tensor, batch: Tensor) -> Tensor:
        new = astype(reshape(batch.detach(), running.shape), running.dtype)
        return running.detach() * (1.0 - self.momentum) + new * self.momentum

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}, momentum={self.momentum}"


def _along(values: Tensor, x: Tensor) -> Tensor:
    """(C) -> (1, C, 1, ...), of as many dimensions as x."""
    return reshape(values, (1, values.shape[0], *(1 for _ in x.shape[2:])))


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of vectors: each feature over the batch. See Ioffe and Szegedy 2015, section 3.

    Shape:
        (N, num_features) -> the same; ``weight``, ``bias``, ``running_mean`` and ``running_var`` are (num_features).
    """

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"BatchNorm1d expects shape (N, {self.weight.shape[0]}), got {tuple(x.shape)}")


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images: each map over the batch and all pixels. See Ioffe and Szegedy 2015, section 3.2.

    Shape:
        (N, num_features, H, W) -> the same; ``weight``, ``bias``, ``running_mean`` and ``running_var`` are (num_features).
    """

    def check_input(self, x: Tensor) -> None:
        check_images("BatchNorm2d", x, self.weight.shape[0])
