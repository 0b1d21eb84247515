"""Layers as functions, and functions on vectors, for `tinytorch.nn.functional`."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Literal

from tinytorch import ops
from tinytorch.array_api import expand_dims, linalg, max, maximum, one_hot as one_hot_vectors, pad as pad_axes, reshape, where
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.functional.activations import assigned
from tinytorch.nn.validation import as_index, check_floating
from tinytorch.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The affine map ``x @ weight^T + bias``.

    Args:
        input: (..., in).
        weight: (out, in).
        bias: (out), or ``None``.

    Returns:
        (..., out).

    Example:
        >>> nn.functional.linear(tt.ones((2, 3)), tt.ones((1, 3))).tolist()
        [[3.0], [3.0]]
    """
    if weight.ndim != 2 or input.shape[-1:] != weight.shape[1:]:
        raise ValueError(f"linear expected an input (..., in) and a weight (out, in), got shapes {input.shape} and {weight.shape}")
    return ops.linear(input, weight, bias)


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of ``weight`` by the integers ``input``. An id that is out of bounds gives a row of NaN.

    Args:
        input: ids, integers of any shape.
        weight: table, (V, D).
        padding_idx: an id whose row gets no gradient.

    Returns:
        (*input.shape, D).

    Example:
        >>> nn.functional.embedding(tt.asarray([1, 0]), tt.asarray([[1.0], [2.0]])).tolist()
        [[2.0], [1.0]]
    """
    ids = as_index(input)
    rows = ops.embedding(weight, ids)
    if padding_idx is None:
        return rows
    return where(expand_dims(ids == padding_idx % weight.shape[0], axis=-1), rows.detach(), rows)


def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Layer normalization over the last axes (Ba et al. 2016, arXiv:1607.06450).

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the axes to normalize over.
        weight: scale, of this shape, or ``None``.
        bias: shift, of this shape, or ``None``.
        eps: added to the variance.

    Example:
        >>> tt.round(nn.functional.layer_norm(tt.asarray([[1.0, 3.0]]), (2,)))
        Tensor([[-1.,  1.]], dtype=float32, device='numpy:cpu')
    """
    if isinstance(normalized_shape, int):
        raise TypeError(f"layer_norm: `normalized_shape` must be a tuple of sizes, got {normalized_shape}; write ({normalized_shape},)")
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: the last axes of the input must have the sizes {shape}, got shape {input.shape}")
    check_floating("layer_norm", input)
    width = math.prod(shape)
    scale, shift = [None if part is None else reshape(part, (width,)) for part in (weight, bias)]
    rows = reshape(input, (*input.shape[: -len(shape)], width))
    return reshape(ops.layer_norm(rows, scale, shift, eps=eps), input.shape)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, set each element to 0 with probability ``p`` and divide the others by ``1 - p`` (Srivastava et al. 2014).

    Args:
        input: any shape.
        p: probability of dropping an element.
        training: false returns the input; pass ``self.training`` in a module.
        inplace: assign the result to ``input`` too.

    Example:
        >>> nn.functional.dropout(tt.ones(3), 0.5, training=False)
        Tensor([1., 1., 1.], dtype=float32, device='numpy:cpu')
    """
    layer = Dropout(p)
    layer.training = training
    return assigned(input, layer(input), inplace and training)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """``x`` divided by its norm along ``dim``.

    Args:
        input: real, at least ``dim + 1`` axes.
        p: order of the norm.
        dim: the axis of the vectors.
        eps: the smallest divisor.

    Example:
        >>> nn.functional.normalize(tt.asarray([[3.0, 4.0]]))
        Tensor([[0.6, 0.8]], dtype=float32, device='numpy:cpu')
    """
    return input / maximum(linalg.vector_norm(input, axis=dim, keepdims=True, ord=p), eps)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integer vectors with 1 at the given position and 0 elsewhere.

    Args:
        tensor: class indices, integers of any shape.
        num_classes: length C of the vectors; -1 is one more than the largest index, which is read from the device.

    Returns:
        Integers (*tensor.shape, C) of the default integer dtype.

    Example:
        >>> nn.functional.one_hot(tt.asarray([0, 2])).tolist()
        [[1, 0, 0], [0, 0, 1]]
    """
    if num_classes == -1:
        if not tensor.size:
            raise ValueError("one_hot: `num_classes` is required for an empty Tensor")
        num_classes = int(max(tensor)) + 1
    return one_hot_vectors(tensor, num_classes, dtype=tensor.backend.default_int)


_MODES: dict[str, Literal["constant", "edge", "reflect", "wrap"]] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add elements at the ends of the last axes; ``tinytorch.pad`` has the arguments of numpy.

    Args:
        input: any shape.
        pad: pairs (before, after), for the last axis first, in one list. Negative widths remove elements.
        mode: ``"constant"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        value: the added elements if ``mode`` is ``"constant"``; defaults to 0.

    Example:
        >>> nn.functional.pad(tt.asarray([[1, 2]]), (1, 0, 0, 1)).tolist()
        [[0, 1, 2], [0, 0, 0]]
    """
    widths = list(pad)
    if mode not in _MODES:
        raise ValueError(f"pad: `mode` must be one of {', '.join(map(repr, _MODES))}, got {mode!r}")
    if len(widths) % 2 or len(widths) > 2 * input.ndim or not all(isinstance(width, int) for width in widths):
        raise ValueError(f"pad: `pad` must be a list of up to {input.ndim} pairs of integers, for the last axis first, got {pad!r}")
    if value is not None and mode != "constant":
        raise ValueError(f"pad: `value` has no effect with mode={mode!r}; leave it out")
    pairs = [(0, 0)] * (input.ndim - len(widths) // 2) + [(widths[i], widths[i + 1]) for i in range(len(widths) - 2, -1, -2)]
    if min(widths, default=0) < 0:
        cut = [(-min(before, 0), n + min(after, 0)) for n, (before, after) in zip(input.shape, pairs, strict=True)]
        input = input[tuple(slice(start, end) for start, end in cut)]
        pairs = [(builtins.max(before, 0), builtins.max(after, 0)) for before, after in pairs]
    return pad_axes(input, pairs, mode=_MODES[mode], constant_values=value or 0)
