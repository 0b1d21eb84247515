"""A child of the kernels' check, for tests: a GPU whose CUDA code runs in the emulator. ``python self_check_child.py DIRECTORY REQUEST``.

The kernels are compiled from the sources in ``DIRECTORY/kernels``, and compiled files are kept in ``DIRECTORY/compiled``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.backends.tinytorch_cupy.conftest import registered_gpu
from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tests.backends.tinytorch_cupy.fake_cupy import new_cupy, with_cuda
from tinytorch.testing import worker
from tinytorch_cupy.kernels import launch

#: The kernels that are checked; the emulator is slow.
NAMES = ("gelu", "linear", "relu")

if __name__ == "__main__":
    directory = Path(sys.argv.pop(1))
    launch.DIRECTORY = directory / "kernels"
    fake_cupy.use_folder(directory / "compiled")
    cupy = new_cupy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", with_cuda(cupy))
        with registered_gpu(patch, cupy, only=NAMES):
            worker.main()
