"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2).

The loss is multiplied by a scale before the backward pass, so that small gradients do not underflow in float16. The gradient is then
divided by the scale. If the gradient overflows, the step is skipped and the scale halved; after `PATIENCE` steps without overflow the
scale is doubled. All scales are powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend import Array

#: Initial `TrainState.scaling`: the scale, steps without overflow since it last changed, skipped steps.
FIRST_SCALING = (65536.0, 0.0, 0.0)
#: Number of steps without overflow after which the scale is doubled.
PATIENCE = 2000


def update_scaling(xp: Any, scaling: Array, finite: Array) -> tuple[Array, Array]:
    """Update ``scaling (3)`` by whether the gradient was ``finite``; returns the new state and whether the step is skipped.

    At a scale of 1 no step is skipped, since the scale cannot have caused the overflow.
    """
    scale, steps, skipped = scaling[0], scaling[1], scaling[2]
    skip = xp.logical_and(xp.logical_not(finite), scale > 1.0)
    steps = xp.where(finite, steps + 1.0, xp.zeros_like(steps))
    grow = steps >= PATIENCE
    scale = xp.where(grow, scale * 2.0, xp.where(skip, scale * 0.5, scale))
    steps = xp.where(grow, xp.zeros_like(steps), steps)
    return xp.stack([scale, steps, skipped + xp.astype(skip, skipped.dtype)]), skip


def select_unless(xp: Any, skip: Array, new: Sequence[Array], old: Sequence[Array]) -> list[Array]:
    """The new arrays, or the old ones if the step is skipped."""
    return [xp.where(skip, before, after) for after, before in zip(new, old, strict=True)]
