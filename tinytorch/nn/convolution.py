"""Layers for images (N, C, H, W): convolution, pooling and flattening."""

from __future__ import annotations

import math

from tinytorch import ops
from tinytorch.array_api import concat, full, reshape
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import check_floating, check_positive
from tinytorch.tensor import Tensor

Pair = tuple[int, int]


class Conv2d(Module):
    """2-d convolution (LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition").

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, one for each filter.
        kernel_size: height and width of the filters: a pair, or one integer for both. The same holds for ``stride``, ``padding`` and
            ``dilation``.
        stride: step of the window.
        padding: zeros added on each side; ``"same"`` keeps height and width (only with stride 1), ``"valid"`` adds none.
        dilation: distance between the pixels that a filter reads (Yu and Koltun 2016, arXiv:1511.07122, section 2).
        groups: number of groups of channels; each filter reads the channels of its group only (Krizhevsky et al. 2012, section 3.5). Must
            divide ``in_channels`` and ``out_channels``.
        bias: whether to add a bias to each output channel. Defaults to true.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, Ho, Wo) with Ho = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1, and Wo
        likewise.

    Attributes:
        weight: (out_channels, in_channels / groups, kh, kw), initialized uniformly in [-k, k) with
            k = 1 / sqrt(in_channels / groups kh kw), as in PyTorch.
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
    data_arguments = 1

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: groups must divide in_channels and out_channels, got {groups} for {in_channels} and {out_channels}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = as_pair("Conv2d", "kernel_size", kernel_size)
        self.stride = as_pair("Conv2d", "stride", stride)
        self.dilation = as_pair("Conv2d", "dilation", dilation)
        self.groups = groups
        self.padding: Pair | str = padding if isinstance(padding, str) else as_pair("Conv2d", "padding", padding, least=0)
        self._zeros, self._uneven = self._find_padding()
        bound = 1.0 / math.sqrt(in_channels // groups * math.prod(self.kernel_size))
        self.weight = init.uniform((out_channels, in_channels // groups, *self.kernel_size), bound)
        self.bias = init.uniform((out_channels,), bound) if bias else None

    def _find_padding(self) -> tuple[Pair, Pair]:
        """The rows and columns of zeros on both sides, and those in addition at the bottom and on the right."""
        if not isinstance(self.padding, str):
            return self.padding, (0, 0)
        if self.padding not in ("same", "valid"):
            raise ValueError(f"Conv2d: padding must be an integer, a pair, 'same' or 'valid', got {self.padding!r}")
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if self.stride != (1, 1):
            raise ValueError(f"Conv2d: padding='same' needs stride 1, got stride {self.stride}")
        rows, columns = (step * (size - 1) for step, size in zip(self.dilation, self.kernel_size, strict=True))
        return (rows // 2, columns // 2), (rows % 2, columns % 2)

    def forward(self, x: Tensor) -> Tensor:
        check_images("Conv2d", x, self.in_channels)
        x = extended(x, self._uneven, 0.0)
        check_windows("Conv2d", x, self.kernel_size, self._zeros, self.dilation)
        return ops.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self._zeros, dilation=self.dilation)

    def extra_repr(self) -> str:
        shown = [f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}"]
        shown += [f"dilation={self.dilation}"] if self.dilation != (1, 1) else []
        shown += [f"groups={self.groups}"] if self.groups != 1 else []
        shown += ["bias=False"] if self.bias is None else []
        return f"{self.in_channels}, {self.out_channels}, {', '.join(shown)}"


class _Pool2d(Module):
    """Base class of the pooling layers."""

    batch_independent = True
    data_arguments = 1

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = as_pair(name, "kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else as_pair(name, "stride", stride)
        self.padding = as_pair(name, "padding", padding, least=0)
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"{name}: padding must be at most half of kernel_size, got {self.padding} for kernel_size {self.kernel_size}")

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _missing(length: int, kernel: int, stride: int, padding: int) -> int:
    """Rows or columns that the last window lacks with ``ceil_mode``; 0 if it starts beyond the image."""
    steps = -(-(length + 2 * padding - kernel) // stride)
    if steps * stride >= length + padding:
        steps -= 1
    return max(0, steps * stride + kernel - length - 2 * padding)


def extended(x: Tensor, more: Pair, value: float) -> Tensor:
    """Add rows at the bottom and columns on the right of images (N, C, H, W)."""
    for axis, count in ((2, more[0]), (3, more[1])):
        if count:
            shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
            x = concat([x, full(shape, value, dtype=x.dtype, device=x.device)], axis=axis)
    return x


class MaxPool2d(_Pool2d):
    """2-d max pooling: the maximum of each window. If elements tie, the gradient goes to the first one.

    Args:
        kernel_size: height and width of the window: a pair, or one integer for both. The same holds for ``stride`` and ``padding``.
        stride: step of the window. Defaults to ``kernel_size``.
        padding: padding on each side, with minus infinity; at most half of ``kernel_size``.
        ceil_mode: also pool a last window that is only partly inside the image, if it starts inside the image or its left padding.

    Shape:
        (N, C, H, W) -> (N, C, Ho, Wo) with Ho = (H + 2 padding - kernel_size) // stride + 1, and Wo likewise; with ``ceil_mode`` the
        division is rounded up.

    Raises:
        TypeError: the input is not floating-point.
        ValueError: a size is not valid, the input is not 4-d, or the window is larger than the padded images.

    Example:
        >>> nn.MaxPool2d(2)(tt.asarray([[[[1.0, 2.0], [4.0, 3.0]]]]))
        Tensor([[[[4.]]]], dtype=float32, device='numpy:cpu')
    """

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0, *, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return super().extra_repr() + (", ceil_mode=True" if self.ceil_mode else "")

    def forward(self, x: Tensor) -> Tensor:
        check_images("MaxPool2d", x)
        if self.ceil_mode:
            sizes = zip(x.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)
            missing_rows, missing_columns = (_missing(*size) for size in sizes)
            x = extended(x, (missing_rows, missing_columns), -math.inf)
        check_windows("MaxPool2d", x, self.kernel_size, self.padding)
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
        check_images("AvgPool2d", x)
        check_windows("AvgPool2d", x, self.kernel_size, self.padding)
        return ops.avg_pool2d(x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)


class Flatten(Module):
    """Flatten all axes from ``start_dim`` to ``end_dim`` into one.

    Args:
        start_dim: first axis to flatten. Defaults to 1, which keeps the batch dimension.
        end_dim: last axis to flatten. Defaults to the last.

    Shape:
        (N, C, H, W) -> (N, C H W).

    Raises:
        ValueError: the input has no axis ``start_dim`` or ``end_dim``, or ``end_dim`` is before ``start_dim``.

    Example:
        >>> nn.Flatten()(tt.ones((2, 3, 4, 4))).shape
        (2, 48)
    """

    data_arguments = 1

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim
        self.batch_independent = start_dim > 0

    def forward(self, x: Tensor) -> Tensor:
        for name, axis in (("start_dim", self.start_dim), ("end_dim", self.end_dim)):
            if not -x.ndim <= axis < x.ndim:
                raise ValueError(f"Flatten: the input has no axis {name}={axis}, got shape {tuple(x.shape)}")
        start, end = self.start_dim % x.ndim, self.end_dim % x.ndim + 1
        if end <= start:
            raise ValueError(f"Flatten: end_dim={self.end_dim} is before start_dim={self.start_dim}, got shape {tuple(x.shape)}")
        return reshape(x, (*x.shape[:start], math.prod(x.shape[start:end]), *x.shape[end:]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}" + ("" if self.end_dim == -1 else f", end_dim={self.end_dim}")


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
    check_floating(layer, x)


def check_windows(layer: str, x: Tensor, kernel_size: Pair, padding: Pair, dilation: Pair = (1, 1)) -> None:
    """Raise ``ValueError`` if the window is larger than the padded images."""
    extents = [step * (size - 1) + 1 for step, size in zip(dilation, kernel_size, strict=True)]
    if any(n + 2 * pad < extent for n, pad, extent in zip(x.shape[2:], padding, extents, strict=True)):
        dilated = "" if dilation == (1, 1) else f" with dilation {dilation}"
        raise ValueError(
            f"{layer}: kernel_size {kernel_size}{dilated} is larger than the padded images, "
            f"which are {tuple(x.shape[2:])} with padding {padding}"
        )
