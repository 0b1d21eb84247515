"""Append positions to a cache. The buffer is donated, so it is updated in place."""

from __future__ import annotations

from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import supports


def _forward(buffer: Array, rows: Array, *, at: int) -> Any:
    """Write ``rows (B, T, C)`` to positions ``at`` to ``at + T - 1`` of ``buffer (B, S, C)``; returns the buffer."""
    if not supports(buffer, rows):
        return NotImplemented
    if not buffer.flags.writeable:
        buffer = buffer.copy()
    buffer[:, at : at + rows.shape[1]] = rows
    return buffer, None


append_rows = Kernel(_forward)
