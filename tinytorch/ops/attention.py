"""Multi-head scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, sections 3.2.1 and 3.2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.ops.random_bits import keep_mask
from tinytorch.tensor import Tensor

#: The score of a masked pair. Finite, so that the softmax of a fully masked row (padding) is finite too.
MASKED = -1e9


def _split(xp: Any, x: Any, num_heads: int) -> Any:
    """(B, T, C) -> (B, H, T, C / H)."""
    batch, length, width = x.shape
    return xp.permute_dims(xp.reshape(x, (batch, length, num_heads, width // num_heads)), (0, 2, 1, 3))


def _merge(xp: Any, x: Any) -> Any:
    """(B, H, T, d) -> (B, T, H d)."""
    batch, heads, length, width = x.shape
    return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (batch, length, heads * width))


def _allowed(xp: Any, queries: int, keys: int, mask: Any, causal: bool) -> Any:
    """The combined boolean mask, true where attention is allowed, broadcastable to (B, H, T, S); ``None`` if all pairs are allowed."""
    if not causal:
        return mask
    # the last query attends to every key; with a cache there are more keys than queries
    past = xp.tril(xp.ones((queries, keys), dtype=xp.bool), k=keys - queries)
    return past if mask is None else past & mask


def _weights(xp: Any, q: Any, k: Any, allowed: Any) -> Any:
    """The attention weights, the softmax of the scaled scores: (B, H, T, S)."""
    scores = xp.matmul(q, xp.matrix_transpose(k)) * (1.0 / math.sqrt(q.shape[-1]))
    if allowed is not None:
        scores = xp.where(allowed, scores, MASKED)
    if 0 in scores.shape:  # max of an empty array would raise
        return scores
    exponentials = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=-1, keepdims=True)


def _dropped(xp: Any, x: Any, key: Any, site: int, p: float, first: int) -> Any:
    return x if p == 0.0 else xp.where(keep_mask(xp, key, site, x.shape, p, first), x * (1.0 / (1.0 - p)), xp.zeros_like(x))


@fused_operation
def attention(
    xp: Any, q: Any, k: Any, v: Any, mask: Any, key: Any, *, num_heads: int, causal: bool, p: float, site: int, first: int = 0
) -> tuple[Tensor, Any]:
    """Multi-head scaled dot-product attention of queries ``q (B, T, C)`` to keys and values ``k, v (B, S, C)``.

    Args:
        q: queries, (B, T, C).
        k: keys, (B, S, C).
        v: values, (B, S, C).
        mask: boolean, broadcastable to (B, H, T, S), true where attention is allowed; or ``None``.
        key: int32 of shape (2), as for `dropout`; ``None`` if ``p`` is 0.
        num_heads: number of heads H, must divide C. Each head has C / H columns.
        causal: whether to mask later positions; the last query attends to all keys.
        p: dropout probability of the attention weights.
        site: call site, as for `dropout`.
        first: offset, as for `dropout`.

    Returns:
        The outputs of all heads, concatenated: (B, T, C).

    Example:
        >>> q = k = tt.zeros((1, 2, 4))
        >>> v = tt.asarray([[[1.0] * 4, [3.0] * 4]])
        >>> tt.ops.attention(q, k, v, None, None, num_heads=2, causal=True, p=0.0, site=0)[0, :, 0]
        Tensor([1., 2.], dtype=float32, device='numpy:cpu')
    """
    heads = [_split(xp, upcast(xp, x), num_heads) for x in (q, k, v)]
    weights = _weights(xp, heads[0], heads[1], _allowed(xp, q.shape[1], k.shape[1], mask, causal))
    out = _merge(xp, xp.matmul(_dropped(xp, weights, key, site, p, first), heads[2]))
    return downcast(xp, out, q), weights


@attention.joint_derivative
def _backward(
    xp: Any,
    g: Any,
    weights: Any,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    num_heads: int,
    causal: bool,
    p: float,
    site: int,
    first: int = 0,
) -> list[Any]:
    q, k, v, mask, key = inputs
    g_out, q_heads, k_heads, v_heads = [_split(xp, upcast(xp, x), num_heads) for x in (g, q, k, v)]
    g_v = xp.matmul(xp.matrix_transpose(_dropped(xp, weights, key, site, p, first)), g_out)
    g_weights = _dropped(xp, xp.matmul(g_out, xp.matrix_transpose(v_heads)), key, site, p, first)
    g_scores = weights * (g_weights - xp.sum(g_weights * weights, axis=-1, keepdims=True))
    allowed = _allowed(xp, q.shape[1], k.shape[1], mask, causal)
    if allowed is not None:  # for fully masked rows, which have nonzero weights, but constant scores
        g_scores = xp.where(allowed, g_scores, xp.zeros_like(g_scores))
    g_scores = g_scores * (1.0 / math.sqrt(q_heads.shape[-1]))
    grads = (xp.matmul(g_scores, k_heads), xp.matmul(xp.matrix_transpose(g_scores), q_heads), g_v)
    return [downcast(xp, _merge(xp, grad), x) for grad, x in zip(grads, (q, k, v), strict=True)] + [None, None]


def _unpack(xp: Any, qkv: Any) -> list[Any]:
    """(B, T, 3 C) -> q, k, v, each (B, T, C)."""
    width = qkv.shape[-1] // 3
    return [qkv[:, :, i * width : (i + 1) * width] for i in range(3)]


@fused_operation
def packed_attention(
    xp: Any, qkv: Any, mask: Any, key: Any, *, num_heads: int, causal: bool, p: float, site: int, first: int = 0
) -> tuple[Tensor, Any]:
    """Self-attention of packed queries, keys and values.

    Args:
        qkv: q, k and v concatenated along the last axis, (B, T, 3 C).
        mask, key, num_heads, causal, p, site, first: as for `attention`.

    Returns:
        The outputs of all heads, concatenated: (B, T, C).

    Example:
        >>> tt.ops.packed_attention(tt.zeros((1, 2, 12)), None, None, num_heads=2, causal=True, p=0.0, site=0).shape
        (1, 2, 4)
    """
    q, k, v = _unpack(xp, qkv)
    return attention.forward(xp, q, k, v, mask, key, num_heads=num_heads, causal=causal, p=p, site=site, first=first)


@packed_attention.joint_derivative
def _packed_backward(
    xp: Any,
    g: Any,
    weights: Any,
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *,
    num_heads: int,
    causal: bool,
    p: float,
    site: int,
    first: int = 0,
) -> list[Any]:
    qkv, mask, key = inputs
    unpacked = (*_unpack(xp, qkv), mask, key)
    every = (True, True, True, False, False)
    grads = _backward(xp, g, weights, unpacked, every, num_heads=num_heads, causal=causal, p=p, site=site, first=first)
    return [xp.concat(grads[:3], axis=-1), None, None]
