"""Attention: each position gathers from the others what matches it (Vaswani et al. 2017, arXiv:1706.03762, section 3.2)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Protocol

from tinytorch import ops
from tinytorch.array_api import arange, expand_dims, matmul, matrix_transpose, where
from tinytorch.nn import init
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import checked_share, checked_sizes
from tinytorch.ops import random
from tinytorch.tensor import Tensor, wrap

#: The score of a pair that may not attend in `SelfAttention`: float16 holds it too, and its exponential is 0 beside any other score's.
_BLOCKED = -6e4


def causal_mask(seq_len: int, device: object = None) -> Tensor:
    """Boolean (seq_len, seq_len), true where a row's position may attend to a column's: itself and all before it."""
    positions = arange(seq_len, device=device)
    return expand_dims(positions, axis=1) >= expand_dims(positions, axis=0)


class SelfAttention(Module):
    """Attention with one head, in plain array code: the one to read first.

    Shape:
        x (B, T, d_model) -> output (B, T, d_model) and weights (B, T, T), where ``weights[b, i, j]`` is how much i takes from j.
    """

    batch_independent = True

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = Linear(d_model, d_model)
        self.key = Linear(d_model, d_model)
        self.value = Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``mask``, boolean and broadcast to (B, T, T), is true where attention is allowed; see `causal_mask`."""
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, D) each
        scores = matmul(q, matrix_transpose(k)) / math.sqrt(q.shape[-1])  # (B, T, T)
        if mask is not None:
            _check_mask(mask)
            scores = where(mask, scores, _BLOCKED)
        weights = ops.softmax(scores, axis=-1)
        return matmul(weights, v), weights


class LayerCache(Protocol):
    """Keys and values of a layer's earlier positions; see `tinytorch.generation.caches`."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``k, v (B, T, C)``; returns keys and values of all positions, (B, S, C) each."""


class MultiHeadAttention(Module):
    """Attention in several heads, each on its own part of the width.

    Args:
        d_model: width, a multiple of ``num_heads``.
        num_heads: number of heads.
        dropout: probability with which an attention weight is dropped in training.

    Parameters are laid out as in ``torch.nn.MultiheadAttention``: ``in_proj_weight (3 d_model, d_model)`` stacks the projections of query,
    key and value, ``in_proj_bias (3 d_model)``, and ``out_proj`` is a `Linear`.
    """

    batch_independent = True

    in_proj_weight: Parameter
    in_proj_bias: Parameter

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        checked_sizes("MultiHeadAttention", d_model=d_model, num_heads=num_heads)
        if d_model % num_heads:
            raise ValueError(f"d_model must be a multiple of num_heads, got {d_model} and {num_heads}")
        self.num_heads = num_heads
        self.dropout = checked_share(dropout)
        self.in_proj_weight = init.xavier_uniform((3 * d_model, d_model))
        self.in_proj_bias = init.constant((3 * d_model,), 0.0)
        self.out_proj = Linear(d_model, d_model)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Attend from ``query`` to ``key`` and ``value``.

        Args:
            query: (B, T, d_model).
            key: (B, S, d_model); left out it is ``query``: self-attention.
            value: (B, S, d_model); left out it is ``key``.
            mask: boolean, true where attention is allowed: (T, S), (B, T, S) for all heads alike, or broadcast to (B, H, T, S).
            is_causal: forbid attention to later positions; the last query stands at the last key.
            cache: keys and values of earlier positions of this layer; this call's are added to it (self-attention only).

        Returns:
            (B, T, d_model).
        """
        if cache is not None and not (key is None and value is None):
            raise ValueError("a cache holds a layer's own keys and values: leave key and value out")
        key = query if key is None else key
        value = key if value is None else value
        weight, bias = self.in_proj_weight, self.in_proj_bias  # (3 C, C) and (3 C)
        dropout = self.dropout if self.training else 0.0
        attend = partial(_attend, mask=mask, num_heads=self.num_heads, is_causal=is_causal, dropout=dropout)
        if cache is not None:
            q, k, v = _split(ops.linear(query, weight, bias))  # (B, T, C) each
            x = attend(q, *cache.append(k, v))  # to keys and values (B, S, C) of all positions so far
        elif query is key and key is value:  # self-attention: one matmul in place of three
            x = attend(ops.linear(query, weight, bias))  # (B, T, 3 C)
        else:
            rows = [slice(i * weight.shape[1], (i + 1) * weight.shape[1]) for i in range(3)]
            q, k, v = [ops.linear(x, weight[r, :], bias[r]) for x, r in zip((query, key, value), rows, strict=True)]
            x = attend(q, k, v)
        return self.out_proj(x)

    def extra_repr(self) -> str:
        return f"d_model={self.in_proj_weight.shape[1]}, num_heads={self.num_heads}, dropout={self.dropout}"


# ---- how the layers call the fused operation ----


def _attend(*qkv: Tensor, mask: Tensor | None, num_heads: int, is_causal: bool, dropout: float) -> Tensor:
    """`tinytorch.ops.attention` of q (B, T, C) and k, v (B, S, C), or of the three side by side in one Tensor (B, T, 3 C): (B, T, C)."""
    if mask is not None:
        _check_mask(mask)
        if mask.ndim == 3:
            mask = expand_dims(mask, axis=1)  # (B, 1, T, S)
    random_key, position = None, {"site": 0}
    if dropout:  # one random number for each attention weight
        draws = random.draws(qkv[0].backend)
        batch, queries, _ = qkv[0].shape
        random_key, position = draws.key, draws.site_and_offset(batch * num_heads * queries * qkv[-1].shape[1])
    attention: Any = ops.packed_attention if len(qkv) == 1 else ops.attention
    return attention(*qkv, mask, random_key, num_heads=num_heads, causal=is_causal, p=dropout, **position)  # type: ignore[no-any-return]


def _split(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3 C) -> three of (B, T, C)."""
    width = qkv.shape[2] // 3
    q, k, v = slice(0, width), slice(width, 2 * width), slice(2 * width, 3 * width)
    if qkv.node is not None:
        return qkv[:, :, q], qkv[:, :, k], qkv[:, :, v]
    raw, backend = qkv.raw, qkv.backend  # for decoding, a token at a time: indexing a raw array takes a tenth of the time
    return wrap(raw[:, :, q], backend), wrap(raw[:, :, k], backend), wrap(raw[:, :, v], backend)


def _check_mask(mask: Tensor) -> None:
    if mask.dtype.kind != "bool":
        raise TypeError(
            f"an attention mask must be boolean, true where attention is allowed, and this one is {mask.dtype.name}; "
            f"where 1 means blocked, pass mask == 0, and where 1 means allowed, mask == 1"
        )
