"""How the learning rate changes over a run. A schedule is array code, so that a compiled step can work it out by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol


class Schedule(Protocol):
    """A factor on the learning rate."""

    def __call__(self, xp: Any, step: Any) -> Any:
        """The factor at ``step``, a float32 array of no dimensions that counts from 1."""


@dataclass(frozen=True)
class WarmupCosine:
    """Up in a straight line, then down half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, without restarts).

    Args:
        warmup_steps: steps until the factor is 1.
        decay_steps: the step at which it reaches ``final``, where it stays.
        final: the last factor.
    """

    warmup_steps: int
    decay_steps: int
    final: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps <= self.decay_steps or self.decay_steps < 1:
            raise ValueError(f"needs 0 <= warmup_steps <= decay_steps, got {self.warmup_steps} and {self.decay_steps}")
        if not 0.0 <= self.final <= 1.0:
            raise ValueError(f"final is a share of the learning rate, from 0 to 1, got {self.final}")

    def __call__(self, xp: Any, step: Any) -> Any:
        progress = (step - self.warmup_steps) / max(1, self.decay_steps - self.warmup_steps)
        progress = xp.clip(progress, 0.0, 1.0)
        cosine = self.final + (1.0 - self.final) * 0.5 * (1.0 + xp.cos(progress * math.pi))
        return xp.where(step < self.warmup_steps, step / max(1, self.warmup_steps), cosine)
