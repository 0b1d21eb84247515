"""The checks of ``python -m benchmarks gpu`` use only precisions that the GPU supports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import tinytorch as tt


@pytest.fixture
def checks(fake_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of checks, on a GPU without bfloat16 and TF32, such as a T4."""
    monkeypatch.setattr(fake_gpu.backend, "_lacks", {"bfloat16": "the GPU is too old", "tf32": "the GPU is too old"})
    fake_gpu.blas.refused = {14}  # bfloat16
    monkeypatch.setitem(sys.modules, "cupy", fake_gpu.cupy)
    monkeypatch.setattr(tt, "get_backend", lambda spec: fake_gpu.backend)
    yield import_module("benchmarks.gpu.checks")
    del sys.modules["benchmarks.gpu.checks"]  # it has imported the fake cupy


def test_matmuls_are_checked_in_the_dtypes_that_the_gpu_supports(checks: Any, fake_gpu: Any) -> None:
    seen = checks.own_products()
    assert seen.startswith("as expected")
    assert "float16" in seen
    assert "bfloat16" not in seen
    assert checks.sums_in_float32() == "float16: 4096.0 and 4096.0"
    assert fake_gpu.blas.refusals == 0


@pytest.mark.parametrize("name", ["tf32", "bfloat16_arrays"])
def test_checks_of_an_unsupported_precision_are_skipped(checks: Any, name: str) -> None:
    assert checks.CHECKS[name]() == "skipped: the GPU is too old"
