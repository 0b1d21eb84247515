"""Inverted dropout (Srivastava et al. 2014, JMLR 15, section 4): scaled during training, not at inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.autograd.operation import fused_operation
from tinytorch.ops.random_bits import keep_mask
from tinytorch.tensor import Tensor


@fused_operation
def dropout(xp: Any, x: Any, key: Any, *, p: float, site: int, first: int = 0) -> tuple[Tensor, None]:
    """Set each element of ``x`` to 0 with probability ``p`` and divide the others by ``1 - p``.

    The random bits depend only on ``key``, ``site``, ``first`` and the position of the element (`tinytorch.ops.random_bits`).

    Args:
        x: an array of any shape.
        key: int32 of shape (2): the key of the run and the step number. It plays the role of a key of ``jax.random``.
        p: dropout probability, less than 1.
        site: call site, the index of this use of random bits within the step, in the role of ``jax.random.fold_in``.
        first: offset of the first element of ``x`` in the whole batch, for a shard of a batch.

    Returns:
        An array of the shape of ``x``.

    Example:
        >>> tt.ops.dropout(tt.ones(4), tt.asarray([1, 2], dtype="int32"), p=0.5, site=3)
        Tensor([2., 0., 2., 0.], dtype=float32, device='numpy:cpu')
    """
    return xp.where(keep_mask(xp, key, site, x.shape, p, first), x * (1.0 / (1.0 - p)), xp.zeros_like(x)), None


@dropout.joint_derivative
def _backward(
    xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Any]:
    _, key = inputs
    return [dropout.forward(xp, g, key, p=p, site=site, first=first)[0], None]  # the mask is computed again instead of saved
