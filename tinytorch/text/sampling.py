"""Choosing the next token from a model's logits: greedy, or drawn at a temperature from the likeliest tokens.

Everything happens beside the logits, on their device. The randomness is passed in, drawn on the host by `Backend.rng`, so that a seed
gives the same tokens on every backend.
"""

from __future__ import annotations

import math

from tinytorch import array_api as xp
from tinytorch.io.errors import InputError
from tinytorch.tensor import Tensor

#: What `next_tokens` gives for a row of logits with nothing to choose by.
NO_TOKEN = -1

# Beyond these the temperature and the nucleus would leave float32's range; what they choose is long the likeliest token alone.
_LARGEST_INVERSE_TEMPERATURE = 1e30
_SMALLEST_NUCLEUS = 1e-30


def check_sampling(
    temperature: float, top_k: int | None, top_p: float | None, min_p: float | None = None, repetition_penalty: float = 1.0
) -> None:
    """Raise `InputError`, a ValueError that says what to give, for settings that `next_tokens` or `penalized` cannot follow."""
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature must be 0 (always the likeliest token) or more, got {temperature}: 1 samples as the model learned")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k must be 1 or more, got {top_k}: leave it out to choose among all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p must be above 0 and at most 1, got {top_p}: leave it out to choose among all tokens")
    if min_p is not None and not 0 <= min_p <= 1:
        raise InputError(f"min_p must be at least 0 and at most 1, got {min_p}: leave it out to choose among all tokens")
    if not 0 < repetition_penalty < math.inf:
        raise InputError(f"repetition_penalty must be above 0, got {repetition_penalty}: 1 is none, and 1.2 discourages repetition")


def next_tokens(
    logits: Tensor,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """One token for each row of logits.

    Args:
        logits: (B, V).
        noise: (B, V), uniform in [0, 1]; needed unless the temperature is 0.
        temperature: what the logits are divided by. 0 takes the likeliest token, and of several the first.
        top_k: choose among this many of the likeliest tokens.
        top_p: choose within the nucleus, the smallest set of likeliest tokens whose probability reaches ``top_p`` (Holtzman et al. 2020,
            arXiv:1904.09751, section 3.1). It is taken after temperature and ``top_k``, and holds at least one token.
        min_p: choose among tokens that are at least this share as probable as the likeliest, after temperature (Nguyen et al. 2024,
            arXiv:2407.01082, section 3).

    Returns:
        Whole numbers (B), in [0, V); `NO_TOKEN` for a row whose largest logit is not a finite number.

    Raises:
        InputError: a setting is out of its range, or ``noise`` is missing.
    """
    check_sampling(temperature, top_k, top_p, min_p)
    largest = xp.max(logits, axis=-1, keepdims=True)  # (B, 1)
    if temperature == 0:
        chosen = xp.argmax(logits, axis=-1)
    elif noise is None:
        raise InputError("a temperature above 0 needs noise to sample with: pass uniform draws, or temperature=0")
    else:
        if logits.dtype.itemsize < 4:
            logits = xp.astype(logits, "float32")
        scores = (logits - largest) * min(1.0 / temperature, _LARGEST_INVERSE_TEMPERATURE)  # log-probabilities, but for a constant
        if min_p:
            scores = xp.where(scores >= math.log(min_p), scores, -xp.inf)
        chosen = _draw(scores, noise, top_k, top_p)
    return xp.where(xp.isfinite(xp.squeeze(largest, axis=-1)), chosen, NO_TOKEN)


def penalized(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits that speak against repetition: of tokens that were seen, positive ones divided by ``penalty``, negative ones multiplied
    (Keskar et al. 2019, arXiv:1909.05858, section 4.1).

    Args:
        logits: (B, V).
        seen: boolean (B, V).
        penalty: 1 changes nothing, less than 1 asks for repetition.
    """
    return xp.where(seen, xp.where(logits > 0, logits / penalty, logits * penalty), logits)


def _draw(scores: Tensor, noise: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Draw one place in each row (B, V) of log-probabilities, the largest being 0, from among the likeliest."""
    if top_k is None and (top_p is None or top_p == 1):
        return xp.argmax(scores + _gumbel(noise), axis=-1)
    size = scores.shape[-1]
    order = xp.argsort(scores, axis=-1, descending=True)[:, : min(top_k or size, size)]  # (B, K), the likeliest first
    scores, noise = xp.take_along_axis(scores, order, axis=-1), xp.take_along_axis(noise, order, axis=-1)
    if top_p is not None:
        weights = xp.exp(scores)
        before = xp.cumulative_sum(weights, axis=-1) - weights  # what the likelier ones hold together: 0 for the first
        nucleus = before < xp.sum(weights, axis=-1, keepdims=True) * max(top_p, _SMALLEST_NUCLEUS)
        scores = xp.where(nucleus, scores, -xp.inf)
    place = xp.argmax(scores + _gumbel(noise), axis=-1, keepdims=True)
    return xp.squeeze(xp.take_along_axis(order, place, axis=-1), axis=-1)


def _gumbel(uniform: Tensor) -> Tensor:
    """Gumbel noise: a token is drawn where log-probability plus noise is largest (Maddison et al. 2014, arXiv:1411.0030, section 2).

    The smallest draws give the largest noise: there float32 tells draws apart best, and the ends are cut off, so that none is infinite.
    """
    return -xp.log(-xp.log1p(-xp.clip(uniform, 1e-30, 1 - 2**-24)))
