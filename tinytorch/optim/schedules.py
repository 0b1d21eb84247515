"""Learning rate schedules. Like a lambda for ``LambdaLR``, a schedule returns a factor; as Array API code, it runs in compiled steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol


class Schedule(Protocol):
    """A function that returns a factor on the learning rate for each step.

    Example:
        >>> def inverse_square_root(xp, step):
        ...     return 1 / xp.sqrt(step)
        >>> optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.1, schedule=inverse_square_root)
    """

    def __call__(self, xp: Any, step: Any) -> Any:
        """Return the factor on the learning rate.

        Args:
            xp: the Array API namespace of the backend.
            step: number of the step, counted from 1: a 0-d floating-point array.

        Returns:
            A 0-d array.
        """


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warmup, then cosine decay (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, without restarts).

    Args:
        warmup_steps: number of steps in which the factor increases linearly to 1.
        decay_steps: step at which the factor reaches ``final``, where it stays.
        final: final factor, from 0 to 1.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> schedule = optim.WarmupCosine(warmup_steps=10, decay_steps=100)
        >>> [round(float(schedule(numpy, numpy.float32(step))), 2) for step in (1, 5, 10, 100)]
        [0.1, 0.5, 1.0, 0.1]
    """

    warmup_steps: int
    decay_steps: int
    final: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps <= self.decay_steps or self.decay_steps < 1:
            raise ValueError(
                f"warmup_steps must be from 0 to decay_steps, and decay_steps at least 1, got {self.warmup_steps} and {self.decay_steps}"
            )
        if not 0.0 <= self.final <= 1.0:
            raise ValueError(f"final must be from 0 to 1, got {self.final}")

    def __call__(self, xp: Any, step: Any) -> Any:
        progress = (step - self.warmup_steps) / max(1, self.decay_steps - self.warmup_steps)
        progress = xp.clip(progress, 0.0, 1.0)
        cosine = self.final + (1.0 - self.final) * 0.5 * (1.0 + xp.cos(progress * math.pi))
        return xp.where(step < self.warmup_steps, step / max(1, self.warmup_steps), cosine)
