"""Writing one new position into a cache, at a place that is known on the device alone."""

from __future__ import annotations

from typing import Any

from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def put_row(xp: Any, buffer: Any, row: Any, at: Any) -> tuple[Tensor, None]:
    """``buffer (B, S, C)`` with ``row (B, 1, C)`` at position ``at``, int32 without dimensions. The buffer is given for good."""
    here = xp.arange(buffer.shape[1], dtype=xp.int32) == at
    return xp.where(here[None, :, None], row, buffer), None


put_row.no_derivative("it writes into a donated buffer")
