"""Writing new positions into a cache, in place: the buffer is donated."""

from __future__ import annotations

from typing import Any

from tinytorch.backend.contract import Array, Kernel
from tinytorch_numpy.kernels.support import takes


def _forward(buffer: Array, rows: Array, *, at: int) -> Any:
    """``buffer (B, S, C)`` with ``rows (B, T, C)`` at positions ``at`` to ``at + T - 1``."""
    if not takes(buffer, rows):
        return NotImplemented
    if not buffer.flags.writeable:
        buffer = buffer.copy()
    buffer[:, at : at + rows.shape[1]] = rows
    return buffer, None


append_rows = Kernel(_forward)
