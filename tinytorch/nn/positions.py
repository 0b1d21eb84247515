"""Positional encodings: row t of a table is added to position t of a sequence."""

from __future__ import annotations

import math
from typing import TypeAlias

from tinytorch.array_api import arange, astype, cos, exp, expand_dims, maximum, reshape, sin, stack
from tinytorch.backend import current_backend
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import check_positive
from tinytorch.ops import embedding
from tinytorch.tensor import Tensor

#: Position of the first token: an integer, or a Tensor (B) with an integer for each sequence of the batch.
Offset: TypeAlias = "int | Tensor"


def sinusoids(length: int, d_model: int) -> Tensor:
    """Return the sinusoidal table (length, d_model) of Vaswani et al. 2017 (arXiv:1706.03762, section 3.5).

    Even columns are ``sin(position / 10000 ** (column / d_model))``, odd columns the cosine of the angle to their left.
    """
    pairs = (d_model + 1) // 2
    # angles reach thousands, where float32 keeps three decimals; with float64, if available, all backends agree exactly
    dtype = "float64" if "float64" in current_backend().capabilities.dtypes else "float32"
    positions = expand_dims(arange(length, dtype=dtype), axis=1)
    angles = positions * exp(arange(pairs, dtype=dtype) * (-2.0 * math.log(10000.0) / d_model))
    table = reshape(stack([sin(angles), cos(angles)], axis=-1), (length, 2 * pairs))
    return astype(table[:, :d_model], "float32")


def add_positions(x: Tensor, table: Tensor, offset: Offset) -> Tensor:
    """Return ``x + table[offset : offset + T]`` in the dtype of x.

    Args:
        x: (B, T, D).
        table: (L, D).
        offset: position of the first token. The values of a Tensor are not checked; positions beyond the end of the table give NaN.

    Returns:
        (B, T, D).

    Raises:
        ValueError: the shapes do not fit, or a position is outside the table.
    """
    if x.ndim != 3 or x.shape[2] != table.shape[1]:
        raise ValueError(f"a positional encoding expects shape (B, T, {table.shape[1]}), got {tuple(x.shape)}")
    length = x.shape[1]
    if isinstance(offset, Tensor):  # negative positions are left padding, which is masked later: clip them
        columns = arange(length, dtype=offset.dtype, device=x.device)  # (T)
        return x + astype(embedding(table, maximum(expand_dims(offset, axis=1) + columns, 0)), x.dtype, copy=False)
    if offset < 0 or offset + length > table.shape[0]:
        raise ValueError(
            f"positions {offset} to {offset + length - 1} are out of bounds for max_length {table.shape[0]}; increase max_length"
        )
    return x + astype(table[offset : offset + length, :], x.dtype, copy=False)


class PositionalEncoding(Module):
    """Fixed sinusoidal positional encoding, added to the input (Vaswani et al. 2017, arXiv:1706.03762, section 3.5).

    Args:
        d_model: width D, even or odd.
        max_length: number of positions.
        scale: factor on the table.

    Shape:
        (B, T, D) -> (B, T, D).

    Attributes:
        pe: buffer (max_length, D), which ``state_dict`` does not include.

    Raises:
        ValueError: the input has another shape, or a position is not below ``max_length``.

    Example:
        >>> nn.PositionalEncoding(d_model=4)(tt.zeros((1, 1, 4)))
        Tensor([[[0., 1., 0., 1.]]], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True
    data_arguments = 1

    def __init__(self, d_model: int, max_length: int = 5000, scale: float = 1.0) -> None:
        super().__init__()
        check_positive("PositionalEncoding", d_model=d_model, max_length=max_length)
        self.d_model = d_model
        self.max_length = max_length
        self.scale = scale
        self.register_buffer("pe", sinusoids(max_length, d_model) * scale, persistent=False)

    def forward(self, x: Tensor, offset: Offset = 0) -> Tensor:
        """Return ``x + pe[offset : offset + T]``; with a cache, ``offset`` is the number of cached positions."""
        return add_positions(x, self.pe, offset)

    def extra_repr(self) -> str:
        return f"{self.d_model}, max_length={self.max_length}, scale={self.scale:.4g}"


class LearnedPositionalEncoding(Module):
    """Learned positional encoding, added to the input, as in GPT-2 (Radford et al. 2019).

    Args:
        d_model: width D.
        max_length: number of positions.
        std: standard deviation of the initial values.

    Shape:
        (B, T, D) -> (B, T, D).

    Attributes:
        weight: (max_length, D), initialized from the normal distribution.

    Raises:
        ValueError: the input has another shape, or a position is not below ``max_length``.

    Example:
        >>> nn.LearnedPositionalEncoding(d_model=4, max_length=8)(tt.zeros((1, 3, 4))).shape
        (1, 3, 4)
    """

    batch_independent = True
    data_arguments = 1

    weight: Parameter

    def __init__(self, d_model: int, max_length: int, std: float = 0.02) -> None:
        super().__init__()
        check_positive("LearnedPositionalEncoding", d_model=d_model, max_length=max_length)
        self.d_model = d_model
        self.max_length = max_length
        self.weight = init.normal((max_length, d_model), std)

    def forward(self, x: Tensor, offset: Offset = 0) -> Tensor:
        """Return ``x + weight[offset : offset + T]``; with a cache, ``offset`` is the number of cached positions."""
        return add_positions(x, self.weight, offset)

    def extra_repr(self) -> str:
        return f"{self.d_model}, max_length={self.max_length}"
