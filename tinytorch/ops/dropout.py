"""Dropout (Srivastava et al. 2014, JMLR 15, section 4), in the form that scales while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.autograd.operation import fused_operation
from tinytorch.ops.random_bits import keep_mask
from tinytorch.tensor import Tensor


@fused_operation
def dropout(xp: Any, x: Any, key: Any, *, p: float, site: int, first: int = 0) -> tuple[Tensor, None]:
    """x with a share ``p`` of its elements set to 0 and the others divided by ``1 - p``. ``key, site, first``: see `random_bits`."""
    return xp.where(keep_mask(xp, key, site, x.shape, p, first), x * (1.0 / (1.0 - p)), xp.zeros_like(x)), None


@dropout.joint_derivative
def _backward(
    xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], *, p: float, site: int, first: int = 0
) -> list[Any]:
    _, key = inputs
    return [dropout.forward(xp, g, key, p=p, site=site, first=first)[0], None]  # the mask is drawn again instead of kept
