"""Cross-entropy loss, computed from logits."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

from tinytorch.array_api.precision import downcast, upcast
from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def cross_entropy(xp: Any, logits: Any, targets: Any, *, ignore_index: int, label_smoothing: float) -> tuple[Tensor, Any]:
    """Cross-entropy ``-log softmax(logits)[target]`` of each row.

    Args:
        logits: (N, V).
        targets: class indices, integers (N).
        ignore_index: target whose loss is 0.
        label_smoothing: weight that is spread evenly over all V classes; the target gets ``1 - label_smoothing`` in addition
            (Szegedy et al. 2016, arXiv:1512.00567, section 7).

    Returns:
        Losses, (N), in at least 32 bits; NaN if a target is neither a class nor ``ignore_index``.

    Example:
        >>> tt.ops.cross_entropy(tt.zeros((2, 4)), tt.asarray([3, -100]), ignore_index=-100, label_smoothing=0.0)
        Tensor([1.3862944, 0.       ], dtype=float32, device='numpy:cpu')
    """
    wide = upcast(xp, logits)
    top = xp.max(wide, axis=-1, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(wide - top), axis=-1, keepdims=True)) + top  # (N, 1)
    counted = targets != ignore_index
    invalid = _invalid(targets, counted, logits.shape[-1])
    safe = xp.where(counted & ~invalid, targets, xp.zeros_like(targets))
    target_logits = xp.take_along_axis(wide, safe[:, None], axis=-1)
    losses = log_sum - target_logits
    if label_smoothing:
        losses = (1.0 - label_smoothing) * losses + label_smoothing * (log_sum - xp.mean(wide, axis=-1, keepdims=True))
    losses = xp.reshape(losses, counted.shape)
    losses = losses * xp.where(invalid, nan, xp.ones_like(losses))  # a factor, so that the gradient is NaN too
    return xp.where(counted, losses, xp.zeros_like(losses)), log_sum


def _invalid(targets: Any, counted: Any, classes: int) -> Any:
    """Whether a target is neither a class nor ignored."""
    return counted & ((targets < 0) | (targets >= classes))


@cross_entropy.joint_derivative
def _backward(
    xp: Any, g: Any, log_sum: Any, inputs: Sequence[Any], needs: Sequence[bool], *, ignore_index: int, label_smoothing: float
) -> list[Any]:
    logits, targets = inputs
    probabilities = xp.exp(upcast(xp, logits) - log_sum)
    classes = logits.shape[-1]
    one_hot = xp.astype(targets[:, None] == xp.arange(classes, dtype=targets.dtype)[None, :], probabilities.dtype)
    counted = targets != ignore_index
    weight = xp.where(counted, g, xp.zeros_like(g)) * xp.where(_invalid(targets, counted, classes), nan, xp.ones_like(g))
    target = (1.0 - label_smoothing) * one_hot + label_smoothing / classes if label_smoothing else one_hot
    return [downcast(xp, (probabilities - target) * weight[:, None], logits), None]
