"""Functions between the attention layers and `tinytorch.ops.attention`: projections, mask check, random bits for dropout, packed input."""

from __future__ import annotations

from typing import Any

from tinytorch import ops
from tinytorch.array_api import expand_dims
from tinytorch.ops import random
from tinytorch.tensor import Tensor, wrap


def attend(*qkv: Tensor, mask: Tensor | None, num_heads: int, is_causal: bool, dropout: float) -> Tensor:
    """Multi-head attention without the projections.

    Args:
        qkv: q (B, T, C), k (B, S, C) and v (B, S, C), or one Tensor (B, T, 3 C) with all three side by side.
        mask: boolean, true where attention is allowed: (T, S), (B, T, S), or broadcast to (B, H, T, S).
        num_heads: number of heads H.
        is_causal: forbid attention to later positions.
        dropout: probability of dropping an attention weight.

    Returns:
        (B, T, C).
    """
    if mask is not None:
        check_mask(mask)
        if mask.ndim == 3:
            mask = expand_dims(mask, axis=1)  # (B, T, S) -> (B, 1, T, S)
    random_key, position = None, {"site": 0}
    if dropout:  # one random number for each attention weight
        draws = random.draws(qkv[0].backend)
        batch, queries, _ = qkv[0].shape
        random_key, position = draws.key, draws.site_and_offset(batch * num_heads * queries * qkv[-1].shape[1])
    attention: Any = ops.packed_attention if len(qkv) == 1 else ops.attention
    return attention(*qkv, mask, random_key, num_heads=num_heads, causal=is_causal, p=dropout, **position)  # type: ignore[no-any-return]


def project_qkv(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Apply the stacked projections ``weight (3 C, C)`` and ``bias (3 C)`` to query (B, T, C), key and value (B, S, C)."""
    width = weight.shape[1]
    rows = [slice(i * width, (i + 1) * width) for i in range(3)]
    q, k, v = [ops.linear(x, weight[r, :], bias[r]) for x, r in zip((query, key, value), rows, strict=True)]
    return q, k, v


def split_qkv(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3 C) -> three of (B, T, C)."""
    width = qkv.shape[2] // 3
    q, k, v = slice(0, width), slice(width, 2 * width), slice(2 * width, 3 * width)
    if qkv.node is not None:
        return qkv[:, :, q], qkv[:, :, k], qkv[:, :, v]
    raw, backend = qkv.raw, qkv.backend  # decoding one token: indexing the raw array takes a tenth of the time
    return wrap(raw[:, :, q], backend), wrap(raw[:, :, k], backend), wrap(raw[:, :, v], backend)


def check_mask(mask: Tensor) -> None:
    """Raise ``TypeError`` unless the mask is boolean."""
    if mask.dtype.kind != "bool":
        raise TypeError(
            f"an attention mask must be boolean, true where attention is allowed, got {mask.dtype.name}; "
            f"if 1 means allowed, pass mask == 1; if 1 means blocked, pass mask == 0"
        )
