"""Sampling settings: how the next token is chosen from a model's logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

from tinytorch.io.errors import InputError


class SamplingSettings(TypedDict, total=False):
    """The fields of `SamplingConfig` except ``temperature`` as keyword arguments, for type checkers."""

    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float


@dataclass(frozen=True)
class SamplingConfig:
    """Settings of sampling, applied in this order: repetition penalty, temperature, min-p, top-k, top-p.

    Attributes:
        temperature: the logits are divided by it. 0 is greedy decoding (argmax).
        top_k: sample from the k most probable tokens. Defaults to all tokens.
        top_p: sample from the nucleus, the smallest set of most probable tokens whose probabilities sum to at least ``top_p`` (Holtzman et
            al. 2020, arXiv:1904.09751, section 3.1). Defaults to all tokens.
        min_p: sample from the tokens whose probability is at least ``min_p`` times the largest probability (Nguyen et al. 2024,
            arXiv:2407.01082, section 3). Defaults to all tokens.
        repetition_penalty: above 1, tokens of the prompt and of the generated text become less probable, below 1 more probable (Keskar et
            al. 2019, arXiv:1909.05858, section 4.1).

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> from tinytorch.generation import SamplingConfig
        >>> SamplingConfig(temperature=0.8, top_k=40)
        SamplingConfig(temperature=0.8, top_k=40, top_p=None, min_p=None, repetition_penalty=1.0)
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(
                f"`temperature` must be finite and at least 0, got {self.temperature}; 0 is greedy, 1 samples from the model's distribution"
            )
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"`top_k` must be at least 1, got {self.top_k}; leave it out to sample from all tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"`top_p` must be in (0, 1], got {self.top_p}; leave it out to sample from all tokens")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise InputError(f"`min_p` must be in [0, 1], got {self.min_p}; leave it out to sample from all tokens")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(
                f"`repetition_penalty` must be finite and above 0, got {self.repetition_penalty}; 1 is no penalty, 1.2 reduces repetition"
            )
