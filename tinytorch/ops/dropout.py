"""Dropout (Srivastava et al. 2014, JMLR 15, section 4), in the form that scales while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinytorch.ops.fused import Fused
from tinytorch.ops.random_bits import keep_mask


def _forward(xp: Any, x: Any, key: Any, *, p: float, site: int, first: int = 0) -> tuple[Any, None]:
    """x with a share ``p`` of its elements set to 0 and the others divided by ``1 - p``. ``key, site, first``: see `random_bits`."""
    return xp.where(keep_mask(xp, key, site, x.shape, p, first), x * (1.0 / (1.0 - p)), xp.zeros_like(x)), None


def _backward(xp: Any, g: Any, residuals: None, inputs: Sequence[Any], needs: Sequence[bool], **static: Any) -> list[Any]:
    _, key = inputs
    return [_forward(xp, g, key, **static)[0], None]  # the mask is drawn again instead of kept


dropout = Fused("dropout", _forward, _backward)
