"""Every setting of a CUDA kernel has the same effect as in the portable version; see `tests/ops/settings_table.py`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.ops.settings_table import check_kernel
from tinytorch_cupy.kernels import KERNELS


@pytest.mark.parametrize("name", KERNELS)
def test_every_value_of_every_setting_matches_the_portable_version(fake_gpu_with_kernels: SimpleNamespace, name: str) -> None:
    check_kernel(name, fake_gpu_with_kernels.backend, fake_gpu_with_kernels.backend.kernels[name])
