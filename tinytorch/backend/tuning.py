"""Settings of the whole process for speed. No import makes them: the command does, and programs that want them call `tune`."""

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
    """Set this process up for speed on a backend, the chosen one by default, once; later calls change nothing.

    On numpy: how freed memory is kept, which BLAS kernels are used, and in how many threads (``TINYTORCH_NUM_THREADS``, or one for each
    core). Results may differ from an untuned process's in their last bits, as they do between CPUs.

    Returns:
        A sentence for each thing that was changed; none where ``TINYTORCH_TUNE=off`` leaves everything alone.
    """
    if os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower() == "off":
        return []
    backend = current_backend() if device is None else get_backend(device)
    with _lock:
        if backend not in _tuned:
            _tuned[backend] = backend.tune()
        return list(_tuned[backend])
