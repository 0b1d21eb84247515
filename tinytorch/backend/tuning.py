"""Process-wide performance settings. Importing tinytorch changes none; the command and programs call `tune`."""

from __future__ import annotations

import os
import threading
from typing import Final

from tinytorch.backend import Backend, current_backend, get_backend
from tinytorch.backend.registry import BackendSpec

ENVIRONMENT_VARIABLE: Final = "TINYTORCH_TUNE"

_lock = threading.Lock()
_tuned: dict[Backend, list[str]] = {}


def tune(device: BackendSpec | None = None) -> list[str]:
    """Tune this process for speed on a backend; further calls for the same backend change nothing.

    On numpy this sets how malloc reuses freed memory, the kernels of OpenBLAS, and the number of threads (``TINYTORCH_NUM_THREADS``, by
    default one for each core). Results may differ in the last bits from those of a process without tuning, as between CPUs.

    Args:
        device: as for `get_backend`; defaults to the current backend.

    Returns:
        A sentence for each change; empty if ``TINYTORCH_TUNE=off`` is set.

    Example:
        >>> tt.tune("strict")
        []
    """
    if os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower() == "off":
        return []
    backend = current_backend() if device is None else get_backend(device)
    with _lock:
        if backend not in _tuned:
            _tuned[backend] = backend.tune()
        return list(_tuned[backend])
