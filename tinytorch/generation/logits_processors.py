"""Logits processors, which modify a model's logits before a token is chosen. Array API code on raw arrays, on the logits' device."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from tinytorch.backend import Array, Namespace

#: Larger values could overflow float32; the softmax is already one-hot at this value.
_LARGEST_INVERSE_TEMPERATURE = 1e30


class LogitsProcessor(ABC):
    """The base class of functions that modify the next token's logits. Each call of `generate` creates new instances, which may keep state.

    Example:
        >>> from tinytorch.generation import LogitsProcessor
        >>> class Bias(LogitsProcessor):
        ...     def __call__(self, xp, logits, tokens):
        ...         return logits + xp.asarray([0.0, 1.0])
        >>> Bias()(numpy, numpy.zeros((1, 2)), None)
        array([[0., 1.]])
    """

    @abstractmethod
    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        """Return the modified logits (B, V).

        Args:
            xp: the array namespace of the logits.
            logits: (B, V), float32.
            tokens: integers (B), the token that was chosen for each row in the previous step; ``None`` in the first step.
        """


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Divides the positive logits of tokens that are already in a row by a penalty, and multiplies the negative ones by it.

    Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1.

    Args:
        prompts: B rows of token ids; chosen tokens are added to them.
        penalty: above 1 reduces repetition, below 1 increases it.

    Example:
        >>> from tinytorch.generation import RepetitionPenaltyLogitsProcessor
        >>> RepetitionPenaltyLogitsProcessor([[0, 1]], penalty=2.0)(numpy, numpy.array([[2.0, -2.0, 1.0]]), None)
        array([[ 1., -4.,  1.]])
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


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """Sets the logits of some tokens to minus infinity, so that they are never chosen.

    Args:
        vocab_size: the tokenizer's vocabulary size; ids from here on are suppressed, because a model may have a larger vocabulary.
        token_ids: further ids to suppress, such as those of special tokens.

    Example:
        >>> from tinytorch.generation import SuppressTokensLogitsProcessor
        >>> SuppressTokensLogitsProcessor(vocab_size=3, token_ids=[0])(numpy, numpy.zeros((1, 4)), None)
        array([[-inf,   0.,   0., -inf]])
    """

    def __init__(self, vocab_size: int, token_ids: Collection[int] = ()) -> None:
        self._vocab_size = vocab_size
        self._token_ids = token_ids
        self._allowed: Array | None = None  # boolean (V)

    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        if self._allowed is None:
            self._allowed = xp.asarray([i < self._vocab_size and i not in self._token_ids for i in range(logits.shape[-1])])
        return xp.where(self._allowed, logits, -math.inf)


class TemperatureLogitsWarper(LogitsProcessor):
    """Divides the logits by a temperature.

    The largest logit of each row is first subtracted, which prevents overflow and does not change the softmax.

    Args:
        temperature: greater than 0.

    Example:
        >>> from tinytorch.generation import TemperatureLogitsWarper
        >>> TemperatureLogitsWarper(0.5)(numpy, numpy.array([[3.0, 1.0]]), None)
        array([[ 0., -4.]])
    """

    def __init__(self, temperature: float) -> None:
        self._inverse = min(1.0 / temperature, _LARGEST_INVERSE_TEMPERATURE)

    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        return (logits - xp.max(logits, axis=-1, keepdims=True)) * self._inverse


class MinPLogitsWarper(LogitsProcessor):
    """Suppresses tokens whose probability is less than ``min_p`` times the largest probability.

    Source: Nguyen et al. 2024, arXiv:2407.01082, section 3.

    Args:
        min_p: the minimum probability relative to the largest one, in (0, 1].

    Example:
        >>> from tinytorch.generation import MinPLogitsWarper
        >>> MinPLogitsWarper(0.3)(numpy, numpy.array([[5.0, 4.0, 3.0]]), None)
        array([[  5.,   4., -inf]])
    """

    def __init__(self, min_p: float) -> None:
        self._log_min_p = math.log(min_p)

    def __call__(self, xp: Namespace, logits: Array, tokens: Array | None) -> Array:
        threshold = xp.max(logits, axis=-1, keepdims=True) + self._log_min_p
        return xp.where(logits >= threshold, logits, -math.inf)
