"""Layers of images (N, C, H, W): convolution, pooling, and flattening for the dense layers that follow."""

from __future__ import annotations

import math

from tinytorch import ops
from tinytorch.array_api import reshape
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import checked_sizes
from tinytorch.tensor import Tensor

Pair = tuple[int, int]


class Conv2d(Module):
    """Slides filters over images (LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition").

    Args:
        in_channels, out_channels: maps that come in, and filters, each of which makes a map.
        kernel_size: height and width of the filters; one number for both, here and below.
        stride: how far the window moves.
        padding: zeros on each side.
        bias: whether a number is added to each map.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, Ho, Wo) with Ho = (H + 2 padding - kernel_size) // stride + 1; ``weight`` is
        (out_channels, in_channels, kh, kw), ``bias`` (out_channels).

    Values start uniform in plus or minus 1 / sqrt(in_channels kh kw), as in PyTorch.
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
        checked_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels)
        self.kernel_size = checked_pair("Conv2d", "kernel_size", kernel_size)
        self.stride = checked_pair("Conv2d", "stride", stride)
        self.padding = checked_pair("Conv2d", "padding", padding, least=0)
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
    """What the pooling layers share."""

    batch_independent = True

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = checked_pair(name, "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else checked_pair(name, "stride", stride)
        self.padding = checked_pair(name, "padding", padding, least=0)
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"{name} can be padded by half of kernel_size at most, got {self.padding} for {self.kernel_size}")

    def check(self, x: Tensor) -> None:
        check_images(type(self).__name__, x)
        check_windows(type(self).__name__, x, self.kernel_size, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """The largest element of each window; padding never is it. Where elements tie, the gradient goes to the first.

    ``stride`` is ``kernel_size`` where it is left out.

    Shape:
        (N, C, H, W) -> (N, C, Ho, Wo) with Ho = (H + 2 padding - kernel_size) // stride + 1: rows that fill no window are left out.
    """

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return ops.max_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class AvgPool2d(_Pool2d):
    """The mean of each window, padded zeros included.

    Arguments and shapes are those of `MaxPool2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return ops.avg_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class Flatten(Module):
    """All dimensions from ``start_dim`` on as one: images (N, C, H, W) -> (N, C H W)."""

    def __init__(self, start_dim: int = 1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.batch_independent = start_dim > 0

    def forward(self, x: Tensor) -> Tensor:
        if not -x.ndim <= self.start_dim < x.ndim:
            raise ValueError(f"Flatten starts at dimension {self.start_dim}, got shape {tuple(x.shape)}")
        start = self.start_dim % x.ndim
        return reshape(x, (*x.shape[:start], math.prod(x.shape[start:])))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}"


def checked_pair(layer: str, name: str, value: int | Pair, least: int = 1) -> Pair:
    """``value``, one whole number or two, as two; raises ``ValueError`` for anything else, or where one is below ``least``."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= least for n in pair):
        raise ValueError(f"{layer} needs {name} of {least} or more, a whole number or two, got {value!r}")
    return pair


def check_images(layer: str, x: Tensor, channels: int | None = None) -> None:
    """Raise ``ValueError`` unless x is (N, C, H, W), with as many ``channels`` if given, and ``TypeError`` unless it is floating-point."""
    if x.ndim != 4 or (channels is not None and x.shape[1] != channels):
        raise ValueError(f"{layer} expects images (N, {channels or 'C'}, H, W), got shape {tuple(x.shape)}")
    if not x.dtype.is_floating:
        raise TypeError(f"{layer} expects floating-point numbers, got {x.dtype.name}; convert with tinytorch.astype(x, 'float32')")


def check_windows(layer: str, x: Tensor, kernel_size: Pair, padding: Pair) -> None:
    """Raise ``ValueError`` where not one window fits in the padded images."""
    if any(n + 2 * pad < size for n, pad, size in zip(x.shape[2:], padding, kernel_size, strict=True)):
        raise ValueError(
            f"{layer} slides a window of {kernel_size}, which does not fit in images of {tuple(x.shape[2:])} with padding {padding}"
        )
