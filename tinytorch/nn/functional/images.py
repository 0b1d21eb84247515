"""Convolution and pooling as functions, for `tinytorch.nn.functional`."""

from __future__ import annotations

from tinytorch import ops
from tinytorch.nn.convolution import AvgPool2d, MaxPool2d, Pair, as_pair, check_images, check_windows, extended
from tinytorch.tensor import Tensor


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """2-d convolution without flipping the filters (cross-correlation).

    Args:
        input: images, (N, C, H, W).
        weight: filters, (O, C / groups, kh, kw).
        bias: (O), or ``None``.
        stride: step of the window: an integer or a pair, as ``padding`` and ``dilation``.
        padding: zeros added on each side; ``"valid"`` adds none, and ``"same"`` keeps height and width.
        dilation: distance between the pixels that a filter reads.
        groups: number of groups of channels.

    Returns:
        (N, O, Ho, Wo).

    Example:
        >>> nn.functional.conv2d(tt.ones((1, 1, 3, 3)), tt.ones((1, 1, 2, 2))).tolist()
        [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    check_images("conv2d", input)
    if weight.ndim != 4 or weight.shape[1] * groups != input.shape[1] or weight.shape[0] % groups:
        raise ValueError(
            f"conv2d expected images (N, C, H, W) and filters (O, C / groups, kh, kw), got shapes {input.shape} and {weight.shape} "
            f"with groups={groups}"
        )
    kernel = (weight.shape[2], weight.shape[3])
    steps, gaps = as_pair("conv2d", "stride", stride), as_pair("conv2d", "dilation", dilation)
    if padding == "same":
        if steps != (1, 1):
            raise ValueError(f"conv2d: padding='same' needs stride 1, got stride {steps}")
        rows, columns = (gap * (size - 1) for gap, size in zip(gaps, kernel, strict=True))
        input, zeros = extended(input, (rows % 2, columns % 2), 0.0), (rows // 2, columns // 2)
    else:
        zeros = (0, 0) if padding == "valid" else as_pair("conv2d", "padding", padding, least=0)  # type: ignore[arg-type]
    check_windows("conv2d", input, kernel, zeros, gaps)
    return ops.conv2d(input, weight, bias, stride=steps, padding=zeros, dilation=gaps)


def max_pool2d(
    input: Tensor, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0, *, ceil_mode: bool = False
) -> Tensor:
    """The maximum of each window of the images (N, C, H, W).

    Args:
        input: (N, C, H, W).
        kernel_size: size of a window: an integer or a pair, as ``stride`` and ``padding``.
        stride: step of the window; defaults to ``kernel_size``.
        padding: padding on each side, with minus infinity.
        ceil_mode: also pool a last window that is only partly inside the image.

    Example:
        >>> nn.functional.max_pool2d(tt.asarray([[[[1.0, 2.0], [4.0, 3.0]]]]), 2).item()
        4.0
    """
    return MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)(input)


def avg_pool2d(input: Tensor, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Tensor:
    """The mean of each window of the images (N, C, H, W), which includes the zeros of the padding.

    Args:
        input, kernel_size, stride: as for `max_pool2d`.
        padding: zeros added on each side.

    Example:
        >>> nn.functional.avg_pool2d(tt.asarray([[[[1.0, 2.0], [4.0, 3.0]]]]), 2).item()
        2.5
    """
    return AvgPool2d(kernel_size, stride, padding)(input)
