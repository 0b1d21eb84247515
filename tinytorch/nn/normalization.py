"""Layer normalization and batch normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinytorch import ops
from tinytorch.array_api import astype, full, mean, reshape, sqrt, square, zeros
from tinytorch.nn import init
from tinytorch.nn.convolution import check_images
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import check_floating, check_positive
from tinytorch.tensor import Tensor


class LayerNorm(Module):
    """Layer normalization over the last axes, ``(x - mean) / sqrt(variance + eps) * weight + bias`` (Ba et al. 2016, arXiv:1607.06450).

    Args:
        normalized_shape: size of the last axis, or a tuple with the sizes of the last axes.
        eps: added to the variance.
        elementwise_affine: whether there are a weight and a bias.
        bias: whether there is a bias.
        d_model: another name for ``normalized_shape``.

    Shape:
        (..., *normalized_shape) -> (..., *normalized_shape).

    Attributes:
        weight: (*normalized_shape), initialized to 1, or ``None``.
        bias: (*normalized_shape), initialized to 0, or ``None``.

    Raises:
        TypeError: neither or both of ``normalized_shape`` and ``d_model`` are given.
        ValueError: the last axes of the input do not have the sizes ``normalized_shape``.

    Example:
        >>> y = nn.LayerNorm(2)(tt.asarray([[1.0, 3.0]])).detach()
        >>> tt.round(y)
        Tensor([[-1.,  1.]], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True
    data_arguments = 1

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int] | None = None,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        d_model: int | None = None,
    ) -> None:
        super().__init__()
        if (normalized_shape is None) == (d_model is None):
            raise TypeError("LayerNorm needs the size of the last axis: pass either normalized_shape or d_model")
        sizes = d_model if normalized_shape is None else normalized_shape
        self.normalized_shape = (sizes,) if isinstance(sizes, int) else tuple(sizes or ())
        if not self.normalized_shape:
            raise ValueError("LayerNorm: normalized_shape must contain at least one size, got ()")
        for size in self.normalized_shape:
            check_positive("LayerNorm", normalized_shape=size)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = init.constant(self.normalized_shape, 1.0) if elementwise_affine else None
        self.bias = init.constant(self.normalized_shape, 0.0) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        shape, weight, bias = self.normalized_shape, self.weight, self.bias
        if x.shape[-len(shape) :] != shape:
            expected = f"{shape[0]} features in the last axis" if len(shape) == 1 else f"the last axes {shape}"
            raise ValueError(f"LayerNorm expects {expected}, got shape {tuple(x.shape)}")
        check_floating("LayerNorm", x)
        if len(shape) == 1:
            return ops.layer_norm(x, weight, bias, eps=self.eps)
        flat = [None if p is None else reshape(p, (-1,)) for p in (weight, bias)]
        return reshape(ops.layer_norm(reshape(x, (*x.shape[: -len(shape)], math.prod(shape))), *flat, eps=self.eps), x.shape)

    def extra_repr(self) -> str:
        shape = str(self.normalized_shape[0]) if len(self.normalized_shape) == 1 else str(self.normalized_shape)
        affine = "" if self.elementwise_affine else ", elementwise_affine=False"
        return f"{shape}, eps={self.eps}{affine}" + (", bias=False" if self.elementwise_affine and self.bias is None else "")


class _BatchNorm(Module):
    """Base class of batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Training mode uses the mean and variance of the batch (algorithm 1 of the paper) and updates running averages of both. Evaluation mode
    uses the running averages (algorithm 2).
    """

    data_arguments = 1

    weight: Parameter
    bias: Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        check_positive(type(self).__name__, num_features=num_features)
        self.num_features = num_features
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
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


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
