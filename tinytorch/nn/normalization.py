"""Layer normalization and batch normalization."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.array_api import astype, full, mean, reshape, sqrt, square, zeros
from tinytorch.nn import init
from tinytorch.nn.convolution import check_images
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import check_positive
from tinytorch.tensor import Tensor


class LayerNorm(Module):
    """Layer normalization over the last axis, ``(x - mean) / sqrt(variance + eps) * weight + bias`` (Ba et al. 2016, arXiv:1607.06450).

    Args:
        d_model: size of the last axis.
        eps: added to the variance.

    Shape:
        (..., d_model) -> (..., d_model).

    Attributes:
        weight: (d_model), initialized to 1.
        bias: (d_model), initialized to 0.

    Raises:
        ValueError: the size of the input's last axis is not ``d_model``.

    Example:
        >>> y = nn.LayerNorm(2)(tt.asarray([[1.0, 3.0]])).detach()
        >>> tt.round(y)
        Tensor([[-1.,  1.]], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True

    weight: Parameter
    bias: Parameter

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_positive("LayerNorm", d_model=d_model)
        self.eps = eps
        self.weight = init.constant((d_model,), 1.0)
        self.bias = init.constant((d_model,), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if x.shape[-1:] != weight.shape:
            raise ValueError(f"LayerNorm expects {weight.shape[0]} features in the last axis, got shape {tuple(x.shape)}")
        return ops.layer_norm(x, weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class _BatchNorm(Module):
    """Base class of batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Training mode uses the mean and variance of the batch (algorithm 1 of the paper) and updates running averages of both. Evaluation mode
    uses the running averages (algorithm 2).
    """

    weight: Parameter
    bias: Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        check_positive(type(self).__name__, num_features=num_features)
        self.eps = eps
        self.momentum = momentum
        self.weight = init.constant((num_features,), 1.0)
        self.bias = init.constant((num_features,), 0.0)
        self.register_buffer("running_mean", full((num_features,), 0.0, dtype="float32"))
        self.register_buffer("running_var", full((num_features,), 1.0, dtype="float32"))
        self.register_buffer("num_batches_tracked", zeros((), dtype=self.weight.backend.default_int))

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        wide = astype(x, "float32") if x.dtype.itemsize < 4 else x  # 16-bit values are summed in float32
        if self.training:
            centered, variance = self._batch_statistics(wide)
        else:
            centered, variance = wide - _per_feature(self.running_mean, x), _per_feature(self.running_var, x)
        scale = _per_feature(self.weight, x) / sqrt(variance + self.eps)
        return astype(centered * scale + _per_feature(self.bias, x), x.dtype)

    def check_input(self, x: Tensor) -> None:
        """Raise ``ValueError`` if x has another shape than expected."""
        raise NotImplementedError

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x minus its mean, and its variance (1, C, 1, ...); updates the running averages."""
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError(
                f"{type(self).__name__} needs more than one value per feature in training mode, got shape {tuple(x.shape)}; "
                f"use a larger batch, or eval()"
            )
        others = tuple(axis for axis in range(x.ndim) if axis != 1)
        average = mean(x, axis=others, keepdims=True)
        centered = x - average
        variance = mean(square(centered), axis=others, keepdims=True)
        self.running_mean = self._running_average(self.running_mean, average)
        self.running_var = self._running_average(self.running_var, variance * (count / (count - 1)))  # unbiased, as in the paper
        self.num_batches_tracked = self.num_batches_tracked + 1
        return centered, variance

    def _running_average(self, running: Tensor, batch: Tensor) -> Tensor:
        new = astype(reshape(batch.detach(), running.shape), running.dtype)
        return running.detach() * (1.0 - self.momentum) + new * self.momentum

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}, momentum={self.momentum}"


def _per_feature(values: Tensor, x: Tensor) -> Tensor:
    """(C) -> (1, C, 1, ...), with as many axes as x."""
    return reshape(values, (1, values.shape[0], *(1 for _ in x.shape[2:])))


class BatchNorm1d(_BatchNorm):
    """Batch normalization of vectors: each feature is normalized over the batch (Ioffe and Szegedy 2015, arXiv:1502.03167, section 3).

    Training mode normalizes with the mean and variance of the batch and updates the running statistics; evaluation mode normalizes with
    the running statistics.

    Args:
        num_features: number of features C.
        eps: added to the variance.
        momentum: weight of the batch in the running statistics: ``running = (1 - momentum) * running + momentum * batch``.

    Shape:
        (N, C) -> (N, C).

    Attributes:
        weight: (C), initialized to 1.
        bias: (C), initialized to 0.
        running_mean: buffer (C), initialized to 0.
        running_var: buffer (C), initialized to 1.
        num_batches_tracked: buffer, the number of training batches.

    Raises:
        ValueError: the input has another shape, or there is only one value per feature in training mode.

    Example:
        >>> y = nn.BatchNorm1d(1)(tt.asarray([[1.0], [3.0]])).detach()
        >>> tt.round(y)
        Tensor([[-1.],
                [ 1.]], dtype=float32, device='numpy:cpu')
    """

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"BatchNorm1d expects shape (N, {self.weight.shape[0]}), got {tuple(x.shape)}")


class BatchNorm2d(_BatchNorm):
    """Batch normalization of images: each channel is normalized over the batch and all pixels (Ioffe and Szegedy 2015, section 3.2).

    Args:
        num_features: number of channels C.
        eps, momentum: as for `BatchNorm1d`.

    Shape:
        (N, C, H, W) -> (N, C, H, W).

    Attributes:
        weight, bias, running_mean, running_var, num_batches_tracked: as for `BatchNorm1d`.

    Raises:
        TypeError: the input is not floating-point.
        ValueError: the input has another shape, or there is only one value per channel in training mode.

    Example:
        >>> nn.BatchNorm2d(3)(tt.ones((2, 3, 4, 4))).shape
        (2, 3, 4, 4)
    """

    def check_input(self, x: Tensor) -> None:
        check_images("BatchNorm2d", x, self.weight.shape[0])
