"""Cross-entropy of a softmax, straight from the logits."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def cross_entropy(xp: Any, logits: Any, targets: Any, *, ignore_index: int, label_smoothing: float) -> tuple[Tensor, Any]:
    """``-log softmax(logits (N, V))[targets (N)]`` for each row: (N), 0 where the target is ``ignore_index``, NaN where it is no class.

    With label smoothing the target's weight is ``1 - label_smoothing``, and the rest is spread evenly over all V classes
    (Szegedy et al. 2016, arXiv:1512.00567, section 7). The result has at least 32 bits.
    """
    wide = upcast(xp, logits)
    top = xp.max(wide, axis=-1, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(wide - top), axis=-1, keepdims=True)) + top  # (N, 1)
    kept = targets != ignore_index
    unknown = _unknown(targets, kept, logits.shape[-1])
    safe = xp.where(kept & ~unknown, targets, xp.zeros_like(targets))
    picked = xp.take_along_axis(wide, safe[:, None], axis=-1)
    losses = log_sum - picked
    if label_smoothing:
        losses = (1.0 - label_smoothing) * losses + label_smoothing * (log_sum - xp.mean(wide, axis=-1, keepdims=True))
    losses = xp.reshape(losses, kept.shape)
    losses = losses * xp.where(unknown, nan, xp.ones_like(losses))  # a factor, so that the gradient is NaN too
    return xp.where(kept, losses, xp.zeros_like(losses)), log_sum


def _unknown(targets: Any, kept: Any, classes: int) -> Any:
    """Whether a target is neither a class nor to be ignored."""
    return kept & ((targets < 0) | (targets >= classes))


@cross_entropy.joint_derivative
def _backward(
    xp: Any, g: Any, log_sum: Any, inputs: Sequence[Any], needs: Sequence[bool], *, ignore_index: int, label_smoothing: float
) -> list[Any]:
    logits, targets = inputs
    probabilities = xp.exp(upcast(xp, logits) - log_sum)
    classes = logits.shape[-1]
    one_hot = xp.astype(targets[:, None] == xp.arange(classes, dtype=targets.dtype)[None, :], probabilities.dtype)
    kept = targets != ignore_index
    weight = xp.where(kept, g, xp.zeros_like(g)) * xp.where(_unknown(targets, kept, classes), nan, xp.ones_like(g))
    target = (1.0 - label_smoothing) * one_hot + label_smoothing / classes if label_smoothing else one_hot
    return [downcast(xp, (probabilities - target) * weight[:, None], logits), None]
