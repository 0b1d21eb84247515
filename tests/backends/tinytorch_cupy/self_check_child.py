"""A child of the kernels' check, for tests: kernels from other sources. ``python self_check_child.py DIRECTORY REQUEST``."""

from __future__ import annotations

import sys
from pathlib import Path

import tinytorch as tt
from tinytorch.testing import worker
from tinytorch_cupy.kernels import launch

#: The kernels that are checked; the emulated CUDA is slow.
NAMES = ("gelu", "linear", "relu")

if __name__ == "__main__":
    launch.DIRECTORY = Path(sys.argv.pop(1)) / "kernels"
    backend = tt.get_backend("cupy:0")
    backend.kernels = {name: backend.kernels[name] for name in NAMES}
    worker.main()
