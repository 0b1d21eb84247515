"""Ways to tell a model where in the sequence it is. Each adds a row of a table to each position."""

from __future__ import annotations

import math
from typing import TypeAlias

from tinytorch.array_api import arange, astype, cos, exp, expand_dims, maximum, reshape, sin, stack
from tinytorch.backend import current_backend
from tinytorch.nn import init
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import checked_sizes
from tinytorch.ops import embedding
from tinytorch.tensor import Tensor

#: Position of the first column: one number, or a Tensor (B) with a number for each row.
Offset: TypeAlias = "int | Tensor"


def sinusoids(length: int, d_model: int) -> Tensor:
    """The table of Vaswani et al. 2017 (arXiv:1706.03762, section 3.5): (length, d_model), sines in even columns, cosines in odd ones."""
    pairs = (d_model + 1) // 2
    # angles reach thousands, of which float32 would keep three decimals; in float64, where there is one, backends agree to a bit
    dtype = "float64" if "float64" in current_backend().capabilities.dtypes else "float32"
    positions = expand_dims(arange(length, dtype=dtype), axis=1)
    angles = positions * exp(arange(pairs, dtype=dtype) * (-2.0 * math.log(10000.0) / d_model))
    table = reshape(stack([sin(angles), cos(angles)], axis=-1), (length, 2 * pairs))
    return astype(table[:, :d_model], "float32")


def add_positions(x: Tensor, table: Tensor, offset: Offset) -> Tensor:
    """``x (B, T, D)`` plus rows of ``table (L, D)``, from ``offset`` on, in the type of x.

    Raises ``ValueError`` where D differs or a position is outside the table. Positions that come as a Tensor are not read for that; beyond
    the table's end they give NaN.
    """
    if x.ndim != 3 or x.shape[2] != table.shape[1]:
        raise ValueError(f"positions are added to (B, T, {table.shape[1]}), got shape {tuple(x.shape)}")
    length = x.shape[1]
    if isinstance(offset, Tensor):  # rows that start at different columns; what lies before a row's start is masked, so clip it
        columns = arange(length, dtype=offset.dtype, device=x.device)
        return x + astype(embedding(table, maximum(expand_dims(offset, axis=1) + columns, 0)), x.dtype, copy=False)
    if offset < 0 or offset + length > table.shape[0]:
        raise ValueError(f"positions {offset} to {offset + length - 1} do not fit a table of {table.shape[0]}; raise max_length")
    return x + astype(table[offset : offset + length, :], x.dtype, copy=False)


class PositionalEncoding(Module):
    """Adds fixed sines and cosines of geometrically spaced wavelengths (Vaswani et al. 2017, section 3.5).

    Args:
        d_model: width, odd too.
        max_length: how many positions the table has.
        scale: factor on the table.

    Shape:
        (B, T, d_model) -> the same.
    """

    batch_independent = True

    def __init__(self, d_model: int, max_length: int = 5000, scale: float = 1.0) -> None:
        super().__init__()
        checked_sizes("PositionalEncoding", d_model=d_model, max_length=max_length)
        self.scale = scale
        self.register_buffer("pe", sinusoids(max_length, d_model) * scale, persistent=False)

    def forward(self, x: Tensor, offset: Offset = 0) -> Tensor:
        """``x + pe[offset : offset + T]``; ``offset`` is where a cached sequence goes on."""
        return add_positions(x, self.pe, offset)

    def extra_repr(self) -> str:
        return f"{self.pe.shape[1]}, max_length={self.pe.shape[0]}, scale={self.scale:.4g}"


class LearnedPositionalEncoding(Module):
    """Adds a learned row for each position, as in GPT-2 (Radford et al. 2019).

    Shape:
        (B, T, d_model) -> the same; ``weight`` is (max_length, d_model).
    """

    batch_independent = True

    weight: Parameter

    def __init__(self, d_model: int, max_length: int, std: float = 0.02) -> None:
        super().__init__()
        checked_sizes("LearnedPositionalEncoding", d_model=d_model, max_length=max_length)
        self.weight = init.normal((max_length, d_model), std)

    def forward(self, x: Tensor, offset: Offset = 0) -> Tensor:
        """``x + weight[offset : offset + T]``."""
        return add_positions(x, self.weight, offset)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, max_length={self.weight.shape[0]}"
