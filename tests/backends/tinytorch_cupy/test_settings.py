"""Every setting of a fused operation does in CUDA what it does in the portable version; see `tests/ops/settings_table.py`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.ops.settings_table import check_kernel
from tinytorch_cupy.kernels import KERNELS


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_computes_what_the_portable_version_computes_with_every_value_of_every_setting(
    whole_gpu: SimpleNamespace, name: str
) -> None:
    check_kernel(name, whole_gpu.backend, whole_gpu.backend.kernels[name])
