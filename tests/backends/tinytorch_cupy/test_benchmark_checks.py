"""The checks of ``python -m benchmarks gpu`` use only precisions that the GPU supports."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.emulated_cuda import hooks


@pytest.fixture
def checks(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of checks, on a GPU without bfloat16 and TF32, such as a T4."""
    monkeypatch.setattr(gpu.backend, "_lacks", {"bfloat16": "the GPU is too old", "tf32": "the GPU is too old"})
    monkeypatch.setenv("EMULATED_CUBLAS_REFUSES", "bfloat16")
    return import_module("benchmarks.gpu.checks")


def test_matmuls_are_checked_in_the_dtypes_that_the_gpu_supports(checks: Any) -> None:
    refusals = hooks.refusals()
    seen = checks.own_products()
    assert seen.startswith("as expected")
    assert "float16" in seen
    assert "bfloat16" not in seen
    assert checks.sums_in_float32() == "float16: 4096.0 and 4096.0"
    assert hooks.refusals() == refusals


@pytest.mark.parametrize("name", ["tf32", "bfloat16_arrays"])
def test_checks_of_an_unsupported_precision_are_skipped(checks: Any, name: str) -> None:
    assert checks.CHECKS[name]() == "skipped: the GPU is too old"
