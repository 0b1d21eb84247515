"""Changes to a model's logits before a token is chosen. Array API code on raw arrays, beside the logits on their device."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from tinytorch.backend import Array, Namespace

#: Beyond it float32 overflows; the softmax has long been 1 for the largest logit alone.
_LARGEST_INVERSE_TEMPERATURE = 1e30


class LogitsProcessor(ABC):
    """A function of the next token's logits. One instance serves one call of `generate`, so it may keep state."""

    @abstractmethod
    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        """The logits to go on with.

        Args:
            xp: the namespace of the arrays.
            logits: (B, V), float32.
            tokens: integers (B), the token that was chosen for each row in the step before; ``None`` in the first step.
        """


class RepetitionPenalty(LogitsProcessor):
    """Divides positive logits of tokens that a row holds already by a penalty, and multiplies negative ones by it
    (Keskar et al. 2019, arXiv:1909.05858, section 4.1).

    Args:
        prompts: B rows of token ids; tokens that are chosen join them.
        penalty: above 1 it discourages repetition, below 1 it encourages it.
    """

    def __init__(self, prompts: Sequence[Collection[int]], penalty: float) -> None:
        self._prompts = prompts
        self._penalty = penalty
        self._seen: Array | None = None  # boolean (B, V)

    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        ids = xp.arange(logits.shape[-1])
        if self._seen is None:
            seen = [[i in row for i in range(logits.shape[-1])] for row in map(set, self._prompts)]
            self._seen = xp.asarray(seen)
        if tokens is not None:
            self._seen = self._seen | (ids == tokens[:, None])
        return xp.where(self._seen, xp.where(logits > 0, logits / self._penalty, logits * self._penalty), logits)


class SuppressTokens(LogitsProcessor):
    """Gives some tokens a logit of minus infinity, so that they are never chosen.

    Args:
        vocab_size: ids from here on are suppressed: a model may have more of them than its tokenizer.
        token_ids: further ids to suppress.
    """

    def __init__(self, vocab_size: int, token_ids: Collection[int] = ()) -> None:
        self._vocab_size = vocab_size
        self._token_ids = token_ids
        self._allowed: Array | None = None  # boolean (V)

    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        if self._allowed is None:
            self._allowed = xp.asarray([i < self._vocab_size and i not in self._token_ids for i in range(logits.shape[-1])])
        return xp.where(self._allowed, logits, -math.inf)


class Temperature(LogitsProcessor):
    """Divides logits by a temperature above 0, after the largest of each row was subtracted, which no softmax notices."""

    def __init__(self, temperature: float) -> None:
        self._inverse = min(1.0 / temperature, _LARGEST_INVERSE_TEMPERATURE)

    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        return (logits - xp.max(logits, axis=-1, keepdims=True)) * self._inverse


class MinP(LogitsProcessor):
    """Suppresses tokens whose probability is less than ``min_p`` times the largest (Nguyen et al. 2024, arXiv:2407.01082, section 3)."""

    def __init__(self, min_p: float) -> None:
        self._log_min_p = math.log(min_p)

    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        threshold = xp.max(logits, axis=-1, keepdims=True) + self._log_min_p
        return xp.where(logits >= threshold, logits, -math.inf)
