"""Choosing tokens by logits: greedy, or sampled with Gumbel noise. Array API code on raw arrays, beside the logits on their device.

Noise is passed in, drawn on the host by `tinytorch.backend.Backend.rng`, so that a seed gives the same tokens on every backend.
"""

from __future__ import annotations

import math

from tinytorch.backend import Array, Namespace

#: In place of a token for a row whose largest logit is not finite.
NO_TOKEN = -1

# Less than this share of the sum float32 cannot tell from 0; the nucleus has long been the most probable token alone.
_SMALLEST_NUCLEUS = 1e-30


def greedy(xp: Namespace, logits: Array) -> Array:
    """The token with the largest logit in each row, the first of several: logits (B, V) -> integers (B), or `NO_TOKEN`."""
    return _where_finite(xp, logits, xp.argmax(logits, axis=-1))


def sample(xp: Namespace, logits: Array, noise: Array, top_k: int | None = None, top_p: float | None = None) -> Array:
    """Draw a token of each row from the softmax of its logits, among the most probable tokens.

    Top-k and top-p are here and not logits processors because they share one sort, and because noise is needed for the candidates alone.

    Args:
        xp: the namespace of the arrays.
        logits: (B, V); -inf is never drawn.
        noise: (B, V), uniform in [0, 1].
        top_k: draw among the k most probable tokens.
        top_p: draw from the nucleus; of the ``top_k`` where both are given. See `SamplingConfig`.

    Returns:
        Integers (B) in [0, V); `NO_TOKEN` for a row whose largest logit is not finite.
    """
    if top_k is None and (top_p is None or top_p == 1):
        return _where_finite(xp, logits, xp.argmax(logits + _gumbel(xp, noise), axis=-1))
    size = logits.shape[-1]
    order = xp.argsort(logits, axis=-1, descending=True)[:, : min(top_k or size, size)]  # (B, K), the most probable first
    scores, noise = xp.take_along_axis(logits, order, axis=-1), xp.take_along_axis(noise, order, axis=-1)
    if top_p is not None:
        weights = xp.exp(scores - scores[:, :1])  # probabilities, relative to the largest
        before = xp.cumulative_sum(weights, axis=-1) - weights  # what the more probable tokens hold together: 0 for the first
        in_nucleus = before < xp.sum(weights, axis=-1, keepdims=True) * max(top_p, _SMALLEST_NUCLEUS)
        scores = xp.where(in_nucleus, scores, -math.inf)
    drawn = xp.argmax(scores + _gumbel(xp, noise), axis=-1, keepdims=True)  # a position in `order`
    return _where_finite(xp, logits, xp.take_along_axis(order, drawn, axis=-1)[:, 0])


def _gumbel(xp: Namespace, uniform: Array) -> Array:
    """Gumbel noise: the argmax of log-probabilities plus this noise is a sample (Maddison et al. 2014, arXiv:1411.0030, section 2).

    The smallest draws give the largest noise, where float32 resolves them best. Draws are clipped so that no noise is infinite.
    """
    return -xp.log(-xp.log1p(-xp.clip(uniform, 1e-30, 1 - 2**-24)))


def _where_finite(xp: Namespace, logits: Array, tokens: Array) -> Array:
    """The tokens of rows whose largest logit is finite, and `NO_TOKEN` for others."""
    return xp.where(xp.isfinite(xp.max(logits, axis=-1)), tokens, NO_TOKEN)
