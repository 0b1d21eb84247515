"""Settings of sampling: how the next token is chosen from a model's logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

from tinytorch.io.errors import InputError


class SamplingSettings(TypedDict, total=False):
    """The fields of `SamplingConfig` but ``temperature`` as keyword arguments, for type checkers."""

    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen. The settings apply in this order: penalty, temperature, min-p, top-k, top-p.

    Attributes:
        temperature: the logits are divided by it. 0 is greedy: the token with the largest logit, the first of several.
        top_k: sample from the k most probable tokens; ``None`` for all.
        top_p: sample from the nucleus, the smallest set of most probable tokens whose probabilities add up to ``top_p`` (Holtzman et al.
            2020, arXiv:1904.09751, section 3.1); it holds at least one token. ``None`` for all.
        min_p: sample from the tokens whose probability is at least ``min_p`` times that of the most probable token (Nguyen et al. 2024,
            arXiv:2407.01082, section 3). ``None`` for all.
        repetition_penalty: above 1, tokens of the prompt and of the text so far become less probable (Keskar et al. 2019,
            arXiv:1909.05858, section 4.1); below 1 more probable.

    Raises:
        InputError: a setting is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(
                f"`temperature` must be finite and at least 0, got {self.temperature}; 0 is greedy, 1 samples as the model learned"
            )
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"`top_k` must be at least 1, got {self.top_k}; leave it out to sample from all tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"`top_p` must be in (0, 1], got {self.top_p}; leave it out to sample from all tokens")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise InputError(f"`min_p` must be in [0, 1], got {self.min_p}; leave it out to sample from all tokens")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(
                f"`repetition_penalty` must be finite and above 0, got {self.repetition_penalty}; 1 is none, 1.2 discourages repetition"
            )
