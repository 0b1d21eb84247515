"""Scaled dot-product attention with one head and with several (Vaswani et al. 2017, arXiv:1706.03762, section 3.2)."""

from __future__ import annotations

import math
from functools import partial
from typing import Protocol

from tinytorch import ops
from tinytorch.array_api import arange, expand_dims, matmul, matrix_transpose, where
from tinytorch.nn import init
from tinytorch.nn.fused_attention import attend, check_mask, project_qkv, split_qkv
from tinytorch.nn.linear import Linear
from tinytorch.nn.module import Module, Parameter
from tinytorch.nn.validation import check_positive, check_probability
from tinytorch.tensor import Tensor

#: Score of a masked pair in `SelfAttention`. It is finite in float16, and its softmax is 0 if any other score of the row is not masked.
_MASKED_SCORE = -6e4


def causal_mask(seq_len: int, device: object = None) -> Tensor:
    """Return a boolean mask (seq_len, seq_len) that lets each position attend to itself and to earlier positions.

    Args:
        seq_len: number of positions T.
        device: device of the mask. Defaults to the current backend's.

    Returns:
        Boolean (T, T): row i is true in columns 0 to i.

    Example:
        >>> nn.causal_mask(3)
        Tensor([[ True, False, False],
                [ True,  True, False],
                [ True,  True,  True]], dtype=bool, device='numpy:cpu')
    """
    positions = arange(seq_len, device=device)
    return expand_dims(positions, axis=1) >= expand_dims(positions, axis=0)


class SelfAttention(Module):
    """Self-attention with one head, ``softmax(Q K^T / sqrt(d_model)) V``, in plain array code.

    Args:
        d_model: width D of input and output.

    Shape:
        x (B, T, D) -> output (B, T, D) and weights (B, T, T), where ``weights[b, i, j]`` is the attention of position i to position j.

    Raises:
        TypeError: the mask is not boolean.

    Example:
        >>> output, weights = nn.SelfAttention(4)(tt.ones((1, 3, 4)), nn.causal_mask(3))
        >>> output.shape, weights.shape
        ((1, 3, 4), (1, 3, 3))
    """

    batch_independent = True
    data_arguments = 1

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.query = Linear(d_model, d_model)
        self.key = Linear(d_model, d_model)
        self.value = Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return output and attention weights.

        Args:
            x: (B, T, D).
            mask: boolean, broadcast to (B, T, T), true where attention is allowed; see `causal_mask`.
        """
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, D) each
        scores = matmul(q, matrix_transpose(k)) / math.sqrt(q.shape[-1])  # (B, T, D) @ (B, D, T) -> (B, T, T)
        if mask is not None:
            check_mask(mask)
            scores = where(mask, scores, _MASKED_SCORE)
        weights = ops.softmax(scores, axis=-1)  # (B, T, T)
        return matmul(weights, v), weights  # (B, T, T) @ (B, T, D) -> (B, T, D)


class LayerCache(Protocol):
    """Keys and values of one layer's earlier positions; see `tinytorch.generation.caches`."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``k`` and ``v``, (B, T, C) each; returns keys and values of all S positions, (B, S, C) each."""


class MultiHeadAttention(Module):
    """Multi-head attention: each of the H heads uses d_model / H features of queries, keys and values.

    Args:
        d_model: width C of input and output.
        num_heads: number of heads H; must divide ``d_model``.
        dropout: probability of dropping an attention weight in training.

    Shape:
        query (B, T, C), key and value (B, S, C) -> (B, T, C).

    Attributes:
        embed_dim, num_heads, head_dim: C, H and C / H.
        in_proj_weight: (3 C, C), the projections of query, key and value, stacked as in ``torch.nn.MultiheadAttention``.
        in_proj_bias: (3 C).
        out_proj: `Linear` from C to C.

    Raises:
        ValueError: ``num_heads`` does not divide ``d_model``, or ``dropout`` is not in [0, 1).

    Example:
        >>> attention = nn.MultiHeadAttention(d_model=8, num_heads=2)
        >>> attention(tt.ones((1, 5, 8)), is_causal=True).shape
        (1, 5, 8)
    """

    batch_independent = True
    data_arguments = 3

    in_proj_weight: Parameter
    in_proj_bias: Parameter

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        check_positive("MultiHeadAttention", d_model=d_model, num_heads=num_heads)
        if d_model % num_heads:
            raise ValueError(f"d_model must be a multiple of num_heads, got {d_model} and {num_heads}")
        self.embed_dim = d_model
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.dropout = check_probability(dropout)
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
            query: (B, T, C).
            key: (B, S, C). Defaults to ``query``: self-attention.
            value: (B, S, C). Defaults to ``key``.
            mask: boolean, true where attention is allowed: (T, S), (B, T, S), or broadcast to (B, H, T, S). This is the convention of
                ``torch.nn.functional.scaled_dot_product_attention``; that of ``torch.nn.MultiheadAttention`` is the opposite.
            is_causal: forbid attention to later positions. If T < S, the queries are the last T of the S positions.
            cache: keys and values of this layer's earlier positions, to which those of ``query`` are added. Self-attention only.

        Returns:
            (B, T, C).

        Raises:
            TypeError: the mask is not boolean.
            ValueError: ``cache`` is given together with ``key`` or ``value``.
        """
        if cache is not None and not (key is None and value is None):
            raise ValueError("a cache works only for self-attention: pass either cache, or key and value")
        key = query if key is None else key
        value = key if value is None else value
        weight, bias = self.in_proj_weight, self.in_proj_bias  # (3 C, C) and (3 C)
        dropout = self.dropout if self.training else 0.0
        attention = partial(attend, mask=mask, num_heads=self.num_heads, is_causal=is_causal, dropout=dropout)
        if cache is not None:
            q, k, v = split_qkv(ops.linear(query, weight, bias))  # (B, T, 3 C) -> (B, T, C) each
            k, v = cache.append(k, v)  # (B, S, C) each: all positions so far
            y = attention(q, k, v)  # (B, T, C)
        elif query is key and key is value:  # self-attention: one matmul instead of three
            y = attention(ops.linear(query, weight, bias))  # (B, T, 3 C) -> (B, T, C)
        else:
            q, k, v = project_qkv(query, key, value, weight, bias)  # (B, T, C), (B, S, C), (B, S, C)
            y = attention(q, k, v)  # (B, T, C)
        return self.out_proj(y)

    def extra_repr(self) -> str:
        return f"d_model={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}"
