"""Convolution as one matmul of unrolled windows, im2col (Chellapilla, Puri and Simard 2006, "High performance convolutional neural
networks for document processing", section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.ops.windows import Pair, add_at, cropped, padded, window_counts, window_slices
from tinytorch.tensor import Tensor


def im2col(xp: Any, x: Any, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Any:
    """Unroll the windows of ``x (N, C, H, W)``, a raw array or a Tensor, into columns.

    Args:
        xp: the namespace of ``x``.
        x: images, (N, C, H, W).
        kernel: size (kh, kw) of a window.
        stride: distance between windows, vertical and horizontal.
        padding: rows and columns of zeros added on each side.
        dilation: distance between the elements of a window.

    Returns:
        Columns, (C kh kw, Ho Wo N), where Ho and Wo are the numbers of windows in each direction. The batch axis is last, so that long
        contiguous runs are copied.

    Example:
        >>> tt.ops.im2col(tt, tt.zeros((5, 3, 8, 8)), kernel=(2, 2), stride=(2, 2), padding=(0, 0)).shape
        (12, 80)
    """
    n, c, height, width = x.shape
    counts = window_counts((height, width), kernel, stride, padding, dilation)
    x = padded(xp, x, padding, 0.0)
    windows = window_slices(kernel, stride, counts, dilation)
    elements = [xp.permute_dims(x[:, :, rows, columns], (1, 2, 3, 0)) for rows, columns in windows]
    unrolled = xp.stack(elements, axis=1)  # (C, kh kw, Ho, Wo, N)
    return xp.reshape(unrolled, (c * kernel[0] * kernel[1], counts[0] * counts[1] * n))


def col2im(
    xp: Any, columns: Any, shape: tuple[int, int, int, int], *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> Any:
    """Sum columns into images: the adjoint of `im2col`, on raw arrays.

    Args:
        xp: the namespace of ``columns``.
        columns: a raw array, (C kh kw, Ho Wo N).
        shape: shape (N, C, H, W) of the images.
        kernel, stride, padding, dilation: as for `im2col`.

    Returns:
        A raw array of ``shape``; elements that several windows contain are summed.

    Example:
        >>> tt.ops.col2im(numpy, numpy.ones((2, 2)), (1, 1, 1, 3), kernel=(1, 2), stride=(1, 1), padding=(0, 0))
        array([[[[1., 2., 1.]]]])
    """
    n, c, height, width = shape
    counts = window_counts((height, width), kernel, stride, padding, dilation)
    elements = xp.reshape(columns, (c, kernel[0] * kernel[1], *counts, n))
    out = xp.zeros((n, c, height + 2 * padding[0], width + 2 * padding[1]), dtype=columns.dtype)
    for k, index in enumerate(window_slices(kernel, stride, counts, dilation)):
        out = add_at(xp, out, index, xp.permute_dims(elements[:, k, :, :, :], (3, 0, 1, 2)))
    return cropped(out, (height, width), padding)


def _rows(xp: Any, weight: Any, groups: int) -> Any:
    """(O, C / G, kh, kw) -> (G, O / G, C / G kh kw), or for one group (O, C kh kw)."""
    o, c, kh, kw = weight.shape
    return _grouped(xp, xp.reshape(upcast(xp, weight), (o, c * kh * kw)), groups)


def _grouped(xp: Any, matrix: Any, groups: int) -> Any:
    """(G N, M) -> (G, N, M), or the matrix itself for one group."""
    return matrix if groups == 1 else xp.reshape(matrix, (groups, matrix.shape[0] // groups, matrix.shape[1]))


def _joined(xp: Any, matrices: Any) -> Any:
    """The inverse of `_grouped`."""
    return matrices if matrices.ndim == 2 else xp.reshape(matrices, (matrices.shape[0] * matrices.shape[1], matrices.shape[2]))


@fused_operation
def conv2d(xp: Any, x: Any, weight: Any, bias: Any, *, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> tuple[Tensor, None]:
    """2-d convolution, without flipping the filters (cross-correlation), as in other frameworks.

    Args:
        x: images, (N, C, H, W).
        weight: filters, (O, C / G, kh, kw). The channels and the filters are split into G groups, and each filter reads the channels of its
            group only (Krizhevsky et al. 2012, section 3.5); G is 1 if the filters have C channels.
        bias: (O), or ``None``.
        stride: vertical and horizontal stride.
        padding: rows and columns of zeros added on each side.
        dilation: distance between the elements of a filter (Yu and Koltun 2016, arXiv:1511.07122, section 2).

    Returns:
        Feature maps, (N, O, Ho, Wo).

    Example:
        >>> x, weight = tt.ones((1, 1, 3, 3)), tt.ones((1, 1, 2, 2))
        >>> tt.ops.conv2d(x, weight, None, stride=(1, 1), padding=(0, 0))[0, 0, ...]
        Tensor([[4., 4.],
                [4., 4.]], dtype=float32, device='numpy:cpu')
    """
    n, channels, height, width = x.shape
    o, per_group, *size = weight.shape
    kernel, groups = (size[0], size[1]), channels // per_group
    counts = window_counts((height, width), kernel, stride, padding, dilation)
    columns = im2col(xp, upcast(xp, x), kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    out = _joined(xp, xp.matmul(_rows(xp, weight, groups), _grouped(xp, columns, groups)))
    if bias is not None:
        out = out + bias[:, None]
    out = xp.reshape(downcast(xp, out, x), (o, *counts, n))
    return xp.permute_dims(out, (3, 0, 1, 2)), None


@conv2d.joint_derivative
def _backward(
    xp: Any,
    g: Any,
    residuals: None,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
) -> list[Any]:
    x, weight, bias = inputs
    n, o, *counts = g.shape
    groups = x.shape[1] // weight.shape[1]
    static: dict[str, Pair] = {"kernel": (weight.shape[2], weight.shape[3]), "stride": stride, "padding": padding, "dilation": dilation}
    g_rows = xp.reshape(xp.permute_dims(upcast(xp, g), (1, 2, 3, 0)), (o, counts[0] * counts[1] * n))
    g_groups = _grouped(xp, g_rows, groups)
    g_x = g_weight = None
    if needs[0]:
        g_columns = xp.matmul(xp.matrix_transpose(_rows(xp, weight, groups)), g_groups)
        g_x = downcast(xp, col2im(xp, _joined(xp, g_columns), x.shape, **static), x)
    if needs[1]:  # unrolled again, since saving the columns would take kh kw times the memory of x
        columns = _grouped(xp, im2col(xp, upcast(xp, x), **static), groups)
        g_weight = xp.reshape(downcast(xp, xp.matmul(g_groups, xp.matrix_transpose(columns)), weight), weight.shape)
    return [g_x, g_weight, downcast(xp, xp.sum(g_rows, axis=1), bias) if needs[2] else None]
