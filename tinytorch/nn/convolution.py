"""Layers for images (N, C, H, W): convolution, pooling and flattening."""

from __future__ import annotations

import math

from tinytorch import ops
from tinytorch.array_api import reshape
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import check_positive
from tinytorch.tensor import Tensor

Pair = tuple[int, int]


class Conv2d(Module):
    """2-d convolution (LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition").

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, one for each filter.
        kernel_size: height and width of the filters: a pair, or one integer for both. The same holds for ``stride`` and ``padding``.
        stride: step of the window.
        padding: zeros added on each side.
        bias: whether to add a bias to each output channel. Defaults to true.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, Ho, Wo) with Ho = (H + 2 padding - kernel_size) // stride + 1, and Wo likewise.

    Attributes:
        weight: (out_channels, in_channels, kh, kw), initialized uniformly in [-k, k) with k = 1 / sqrt(in_channels kh kw), as in PyTorch.
        bias: (out_channels), initialized like ``weight``, or ``None``.

    Raises:
        TypeError: the input is not floating-point.
        ValueError: a size is not valid, the input has another shape, or the window is larger than the padded images.

    Example:
        >>> conv = nn.Conv2d(3, 8, kernel_size=3, padding=1)
        >>> conv(tt.ones((2, 3, 16, 16))).shape
        (2, 8, 16, 16)
    """

    batch_independent = True

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive("Conv2d", in_channels=in_channels, out_channels=out_channels)
        self.kernel_size = as_pair("Conv2d", "kernel_size", kernel_size)
        self.stride = as_pair("Conv2d", "stride", stride)
        self.padding = as_pair("Conv2d", "padding", padding, least=0)
        bound = 1.0 / math.sqrt(in_channels * math.prod(self.kernel_size))
        self.weight = init.uniform((out_channels, in_channels, *self.kernel_size), bound)
        self.bias = init.uniform((out_channels,), bound) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        check_images("Conv2d", x, weight.shape[1])
        check_windows("Conv2d", x, self.kernel_size, self.padding)
        return ops.conv2d(x, weight, self.bias, stride=self.stride, padding=self.padding)

    def extra_repr(self) -> str:
        out_channels, in_channels = self.weight.shape[:2]
        bias = "" if self.bias is not None else ", bias=False"
        return f"{in_channels}, {out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{bias}"


class _Pool2d(Module):
    """Base class of the pooling layers."""

    batch_independent = True

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = as_pair(name, "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else as_pair(name, "stride", stride)
        self.padding = as_pair(name, "padding", padding, least=0)
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"{name}: padding must be at most half of kernel_size, got {self.padding} for kernel_size {self.kernel_size}")

    def check(self, x: Tensor) -> None:
        check_images(type(self).__name__, x)
        check_windows(type(self).__name__, x, self.kernel_size, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """2-d max pooling: the maximum of each window. If elements tie, the gradient goes to the first one.

    Args:
        kernel_size: height and width of the window: a pair, or one integer for both. The same holds for ``stride`` and ``padding``.
        stride: step of the window. Defaults to ``kernel_size``.
        padding: padding on each side, with minus infinity; at most half of ``kernel_size``.

    Shape:
        (N, C, H, W) -> (N, C, Ho, Wo) with Ho = (H + 2 padding - kernel_size) // stride + 1, and Wo likewise.

    Raises:
        TypeError: the input is not floating-point.
        ValueError: a size is not valid, the input is not 4-d, or the window is larger than the padded images.

    Example:
        >>> nn.MaxPool2d(2)(tt.asarray([[[[1.0, 2.0], [4.0, 3.0]]]]))
        Tensor([[[[4.]]]], dtype=float32, device='numpy:cpu')
    """

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return ops.max_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class AvgPool2d(_Pool2d):
    """2-d average pooling: the mean of each window, which includes the zeros of the padding.

    Args:
        kernel_size, stride, padding: as for `MaxPool2d`; the padding is with zeros.

    Shape:
        (N, C, H, W) -> (N, C, Ho, Wo), as for `MaxPool2d`.

    Raises:
        TypeError, ValueError: as for `MaxPool2d`.

    Example:
        >>> nn.AvgPool2d(2)(tt.asarray([[[[1.0, 2.0], [4.0, 3.0]]]]))
        Tensor([[[[2.5]]]], dtype=float32, device='numpy:cpu')
    """

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return ops.avg_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class Flatten(Module):
    """Flatten all axes from ``start_dim`` to the last into one.

    Args:
        start_dim: first axis to flatten. Defaults to 1, which keeps the batch dimension.

    Shape:
        (N, C, H, W) -> (N, C H W).

    Raises:
        ValueError: the input has no axis ``start_dim``.

    Example:
        >>> nn.Flatten()(tt.ones((2, 3, 4, 4))).shape
        (2, 48)
    """

    def __init__(self, start_dim: int = 1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.batch_independent = start_dim > 0

    def forward(self, x: Tensor) -> Tensor:
        if not -x.ndim <= self.start_dim < x.ndim:
            raise ValueError(f"Flatten: the input has no axis start_dim={self.start_dim}, got shape {tuple(x.shape)}")
        start = self.start_dim % x.ndim
        return reshape(x, (*x.shape[:start], math.prod(x.shape[start:])))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}"


def as_pair(layer: str, name: str, value: int | Pair, least: int = 1) -> Pair:
    """Return an integer or a pair of integers as a pair; raises ``ValueError`` for another value or one below ``least``."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= least for n in pair):
        raise ValueError(f"{layer}: {name} must be an integer or a pair of integers, at least {least}, got {value!r}")
    return pair


def check_images(layer: str, x: Tensor, channels: int | None = None) -> None:
    """Raise ``ValueError`` unless x is (N, C, H, W) with C = ``channels`` if given, and ``TypeError`` unless it is floating-point."""
    if x.ndim != 4 or (channels is not None and x.shape[1] != channels):
        raise ValueError(f"{layer} expects images (N, {channels or 'C'}, H, W), got shape {tuple(x.shape)}")
    if not x.dtype.is_floating:
        raise TypeError(f"{layer} expects a floating-point dtype, got {x.dtype.name}; convert with tinytorch.astype(x, 'float32')")


def check_windows(layer: str, x: Tensor, kernel_size: Pair, padding: Pair) -> None:
    """Raise ``ValueError`` if the window is larger than the padded images."""
    if any(n + 2 * pad < size for n, pad, size in zip(x.shape[2:], padding, kernel_size, strict=True)):
        raise ValueError(
            f"{layer}: kernel_size {kernel_size} is larger than the padded images, which are {tuple(x.shape[2:])} with padding {padding}"
        )
