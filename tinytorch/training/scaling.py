"""The loss scale of float16 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2), moved by what the gradient does.

The loss is multiplied before it is differentiated, so that small gradients are not lost in float16, and the gradient divided again. Where
that overflows, the step is skipped and the scale halved; where it has held for long, the scale is doubled. All are powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.backend import Array

#: What `TrainState.scaling` starts from: the scale, how many steps it has stood, how many steps were skipped.
FIRST_SCALING = (65536.0, 0.0, 0.0)
#: Steps that a scale must hold before it is doubled.
PATIENCE = 2000


def after_step(xp: Any, scaling: Array, finite: Array) -> tuple[Array, Array]:
    """What becomes of ``scaling (3)`` after a step whose gradient was ``finite``, or not, and whether the step is to be skipped.

    At a scale of 1 nothing is skipped: what overflows then is no fault of the scale.
    """
    scale, stood, skipped = scaling[0], scaling[1], scaling[2]
    skip = xp.logical_and(xp.logical_not(finite), scale > 1.0)
    stood = xp.where(finite, stood + 1.0, xp.zeros_like(stood))
    grow = stood >= PATIENCE
    scale = xp.where(grow, scale * 2.0, xp.where(skip, scale * 0.5, scale))
    stood = xp.where(grow, xp.zeros_like(stood), stood)
    return xp.stack([scale, stood, skipped + xp.astype(skip, skipped.dtype)]), skip


def unless(xp: Any, skip: Array, new: Sequence[Array], old: Sequence[Array]) -> list[Array]:
    """The new arrays, or the old ones where the step is skipped."""
    return [xp.where(skip, before, after) for after, before in zip(new, old, strict=True)]
