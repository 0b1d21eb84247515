"""Choosing tokens by their logits: greedily, or sampled with Gumbel noise. Array API code on raw arrays, on the logits' device.

The noise is an argument, drawn on the CPU by `tinytorch.backend.Backend.rng`, so that a seed gives the same tokens on every backend.
"""

from __future__ import annotations

import math

from tinytorch.backend import Array, Namespace

#: The result for a row whose largest logit is not finite.
NO_TOKEN = -1

# Lower limit of top_p, below which float32 could underflow to 0; the nucleus is already a single token.
_SMALLEST_NUCLEUS = 1e-30


def greedy(xp: Namespace, logits: Array) -> Array:
    """Choose the token with the largest logit in each row, the first of equal ones.

    Args:
        xp: the array namespace of the logits.
        logits: (B, V).

    Returns:
        Integers (B) in [0, V); -1 for a row whose largest logit is not finite.

    Example:
        >>> from tinytorch.generation import greedy
        >>> greedy(numpy, numpy.array([[0.1, 0.7, 0.2], [3.0, 1.0, 2.0]])).tolist()
        [1, 0]
    """
    return _where_finite(xp, logits, xp.argmax(logits, axis=-1))


def sample(xp: Namespace, logits: Array, noise: Array, top_k: int | None = None, top_p: float | None = None) -> Array:
    """Sample a token for each row from the softmax of its logits, optionally limited to the most probable tokens.

    Top-k and top-p are implemented here and not as logits processors, because they share one sort, and only their candidates need noise.

    Args:
        xp: the array namespace of the logits.
        logits: (B, V); tokens with a logit of -inf are never chosen.
        noise: (B, V), uniform in [0, 1].
        top_k: sample from the k most probable tokens.
        top_p: sample from the nucleus, after ``top_k`` if both are given; see `SamplingConfig`.

    Returns:
        Integers (B) in [0, V); -1 for a row whose largest logit is not finite.

    Example:
        >>> from tinytorch.generation import sample
        >>> logits, noise = tt.asarray([[0.0, 9.0, 0.0]]), tt.full((1, 3), 0.5)
        >>> sample(logits.backend.xp, logits.raw, noise.raw, top_k=2).tolist()
        [1]
    """
    if top_k is None and (top_p is None or top_p == 1):
        return _where_finite(xp, logits, xp.argmax(logits + _gumbel(xp, noise), axis=-1))
    size = logits.shape[-1]
    order = xp.argsort(logits, axis=-1, descending=True)[:, : min(top_k or size, size)]  # (B, K), the most probable first
    scores, noise = xp.take_along_axis(logits, order, axis=-1), xp.take_along_axis(noise, order, axis=-1)
    if top_p is not None:
        weights = xp.exp(scores - scores[:, :1])  # probabilities, relative to the largest
        before = xp.cumulative_sum(weights, axis=-1) - weights  # the sum over all more probable tokens: 0 for the first
        in_nucleus = before < xp.sum(weights, axis=-1, keepdims=True) * max(top_p, _SMALLEST_NUCLEUS)
        scores = xp.where(in_nucleus, scores, -math.inf)
    drawn = xp.argmax(scores + _gumbel(xp, noise), axis=-1, keepdims=True)  # a position in `order`
    return _where_finite(xp, logits, xp.take_along_axis(order, drawn, axis=-1)[:, 0])


def _gumbel(xp: Namespace, uniform: Array) -> Array:
    """Gumbel noise: the argmax of log-probabilities plus this noise is a sample (Maddison et al. 2014, arXiv:1411.0030, section 2).

    The smallest draws give the largest noise, because float32 is most precise near 0. Draws are clipped so that all noise is finite.
    """
    return -xp.log(-xp.log1p(-xp.clip(uniform, 1e-30, 1 - 2**-24)))


def _where_finite(xp: Namespace, logits: Array, tokens: Array) -> Array:
    """The tokens of rows whose largest logit is finite, and `NO_TOKEN` for others."""
    return xp.where(xp.isfinite(xp.max(logits, axis=-1)), tokens, NO_TOKEN)
