"""Every setting of a CUDA kernel has the same effect as in the portable version; see `tests/ops/settings_table.py`."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy
import pytest

from tests.backends.tinytorch_cupy.checks import EMULATED, emulated
from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tests.ops.settings_table import check_kernel
from tinytorch.backend import get_backend
from tinytorch_cupy.kernels import KERNELS


@pytest.mark.parametrize("name", EMULATED)
def test_every_value_of_every_setting_matches_the_portable_version(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module = sys.modules["tinytorch_cupy.kernels.conv2d"]
    monkeypatch.setattr(module, "matmul", lambda a, b: fake_cupy.asarray(numpy.asarray(a) @ numpy.asarray(b)))
    check_kernel(name, get_backend("numpy"), emulated(KERNELS[name]))


@pytest.mark.parametrize("name", KERNELS)
def test_every_value_of_every_setting_matches_the_portable_version_on_cupy(gpu: SimpleNamespace, name: str) -> None:
    check_kernel(name, gpu.backend, KERNELS[name])
