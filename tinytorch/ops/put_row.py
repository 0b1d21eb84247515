"""Write one new position into a static key-value cache, at an index that is stored on the device."""

from __future__ import annotations

from typing import Any

from tinytorch.autograd.operation import fused_operation
from tinytorch.tensor import Tensor


@fused_operation
def put_row(xp: Any, buffer: Any, row: Any, at: Any) -> tuple[Tensor, None]:
    """Write ``row (B, 1, C)`` into ``buffer (B, S, C)`` at position ``at``, a 0-d int32 array. The buffer is donated.

    Returns:
        The updated buffer, (B, S, C). It may reuse the memory of ``buffer``.

    Example:
        >>> tt.ops.put_row(tt.zeros((1, 3, 1)), tt.ones((1, 1, 1)), tt.asarray(1, dtype="int32"))[0, :, 0]
        Tensor([0., 1., 0.], dtype=float32, device='numpy:cpu')
    """
    here = xp.arange(buffer.shape[1], dtype=xp.int32) == at
    return xp.where(here[None, :, None], row, buffer), None


put_row.no_derivative("it writes into a donated buffer")
