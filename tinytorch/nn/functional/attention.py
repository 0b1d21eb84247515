"""The attention function of `tinytorch.nn.functional`."""

from __future__ import annotations

import math

from tinytorch.array_api import astype, exp, matmul, matrix_transpose, max, ones, permute_dims, reshape, sum, tril, where, zeros_like
from tinytorch.array_api.precision import upcast
from tinytorch.nn.dropout import Dropout
from tinytorch.nn.fused_attention import attend
from tinytorch.tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """``softmax(scale * query @ key^T + mask) @ value`` (Vaswani et al. 2017, arXiv:1706.03762, equation 1).

    Without a mask and a scale, self-attention of 4-d Tensors runs as one fused operation, which does not store the scores on a GPU.

    Args:
        query: (..., T, E), such as (B, H, T, E).
        key: (..., S, E).
        value: (..., S, V).
        attn_mask: broadcast to (..., T, S): boolean, true where attention is allowed, or floating-point, added to the scores.
        dropout_p: probability of dropping an attention weight. Applied whenever it is not 0: pass 0 in evaluation.
        is_causal: forbid attention of position t to positions after t. Cannot be combined with ``attn_mask``.
        scale: factor of the scores; defaults to ``1 / sqrt(E)``.

    Returns:
        (..., T, V). Where a row of the mask forbids all positions, the output is 0.

    Raises:
        ValueError: the shapes do not fit, or both ``attn_mask`` and ``is_causal`` are given.

    Example:
        >>> q = k = tt.zeros((1, 1, 2, 4))
        >>> v = tt.asarray([[[[1.0], [3.0]]]])
        >>> nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).tolist()
        [[[[1.0], [2.0]]]]
    """
    if min(query.ndim, key.ndim, value.ndim) < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"scaled_dot_product_attention expected query (..., T, E), key (..., S, E) and value (..., S, V), "
            f"got shapes {query.shape}, {key.shape} and {value.shape}"
        )
    if attn_mask is not None and is_causal:
        raise ValueError("scaled_dot_product_attention: pass either `attn_mask` or `is_causal`; combine masks with &")
    same = query.shape == key.shape == value.shape and query.ndim == 4
    if same and attn_mask is None and scale is None and 0 not in query.shape and dropout_p < 1.0:
        heads = query.shape[1]
        out = attend(*[_merge(x) for x in (query, key, value)], mask=None, num_heads=heads, is_causal=is_causal, dropout=dropout_p)
        return _split(out, heads)
    xp = query.backend.namespace
    wide = [upcast(xp, x) for x in (query, key, value)]
    scores = matmul(wide[0], matrix_transpose(wide[1])) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = tril(ones(scores.shape[-2:], dtype="bool", device=query.device))
    if attn_mask is not None:
        floating = attn_mask.dtype.is_floating
        scores = scores + upcast(xp, attn_mask) if floating else where(attn_mask, scores, xp.full_like(scores, -math.inf))
    weights = _softmax(scores) if scores.size else scores
    if dropout_p:
        weights = Dropout(dropout_p)(weights)
    return astype(matmul(weights, wide[2]), query.dtype, copy=False)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis; 0 in rows of minus infinity."""
    top = max(scores, axis=-1, keepdims=True).detach()
    allowed = top != -math.inf
    exponentials = exp(where(allowed, scores, zeros_like(scores)) - where(allowed, top, zeros_like(top)))
    exponentials = where(allowed, exponentials, zeros_like(exponentials))
    total = sum(exponentials, axis=-1, keepdims=True)
    return exponentials / where(allowed, total, 1.0)


def _merge(x: Tensor) -> Tensor:
    """(B, H, T, E) -> (B, T, H E)."""
    batch, heads, length, width = x.shape
    return reshape(permute_dims(x, (0, 2, 1, 3)), (batch, length, heads * width))


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, T, H E) -> (B, H, T, E)."""
    batch, length, width = x.shape
    return permute_dims(reshape(x, (batch, length, heads, width // heads)), (0, 2, 1, 3))
