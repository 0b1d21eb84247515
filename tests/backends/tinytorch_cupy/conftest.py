"""Fixtures for machines without a GPU: the CUDA kernels on the emulator, and the backend with real cupy on an emulated CUDA."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tests.emulated_cuda import hooks
from tinytorch.autograd import operation
from tinytorch_cupy import gemm
from tinytorch_cupy.kernels.launch import SOURCES


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The fake cupy module of the emulator. Compiled files are cached between test runs."""
    reason = fake_cupy.usable()
    if reason is not None:
        pytest.skip(reason)
    cache = getattr(request.config, "cache", None)  # the cache plugin may be disabled
    fake_cupy.use_folder(Path(cache.mkdir("emulated_cuda")) if cache else tmp_path_factory.getbasetemp())
    fake = fake_cupy.module()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    _clear_compiled()
    token = operation._use_kernels.set(True)  # these are tested even if kernels are disabled
    yield fake
    operation._use_kernels.reset(token)
    _clear_compiled()


def _clear_compiled() -> None:
    """Clear compiled functions, so that those of the emulator and of a GPU are not mixed."""
    for source in SOURCES.values():
        source._functions.clear()
        source._modules.clear()
        source._failures.clear()
    fake_cupy.state.order = 0
    fake_cupy.state.capability = "90"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """``backend`` and ``cupy`` on the emulated CUDA. It is the selected backend; nothing is remembered of matmuls of other tests."""
    if not hooks.is_active():
        pytest.skip('needs the emulated CUDA: nox -s "tests(cupy_emulated)"')
    import cupy

    with tt.use_backend("cupy") as backend:
        monkeypatch.setattr(gemm, "_computed_in_float32", set())
        hooks.clear()
        yield SimpleNamespace(backend=backend, cupy=cupy)


@pytest.fixture
def two_gpus(gpu: SimpleNamespace) -> Iterator[SimpleNamespace]:
    """`gpu` with two devices: the first is the current one, and ``cupy:1`` the selected backend."""
    if gpu.cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs: EMULATED_CUDA_DEVICES=2")
    with tt.use_backend("cupy:1") as backend:
        gpu.cupy.cuda.Device(0).use()
        yield SimpleNamespace(backend=backend, cupy=gpu.cupy)
    gpu.cupy.cuda.Device(0).use()
