"""Append new positions to a static key-value cache."""

from __future__ import annotations

from typing import Any

from tinytorch.autograd.operation import fused_operation


@fused_operation
def append_rows(xp: Any, buffer: Any, rows: Any, *, at: int) -> tuple[Any, None]:
    """Write ``rows (B, T, C)`` into ``buffer (B, S, C)`` at positions ``at`` to ``at + T - 1``. The buffer is donated.

    Returns:
        The updated buffer, (B, S, C). It may reuse the memory of ``buffer``.

    Example:
        >>> tt.ops.append_rows(tt.zeros((1, 3, 1)), tt.ones((1, 2, 1)), at=1)[0, :, 0]
        Tensor([0., 1., 1.], dtype=float32, device='numpy:cpu')
    """
    from array_api_extra import at as update_at  # writes in place if the library supports it

    return update_at(buffer, (slice(None), slice(at, at + rows.shape[1]), slice(None))).set(rows), None


append_rows.no_derivative("it writes into a donated buffer")
