"""Fixtures for machines without a GPU: the CUDA kernels on the emulator, and the backend with a fake cupy."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tests.backends.tinytorch_cupy.fake_blas import FakeBlas
from tests.backends.tinytorch_cupy.fake_cupy import new_cupy, new_namespace, with_cuda
from tests.emulated_cuda import hooks
from tinytorch.autograd import operation
from tinytorch_cupy import gemm
from tinytorch_cupy.backend import CupyBackend
from tinytorch_cupy.kernels import KERNELS
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
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """``backend``, ``cupy`` and ``blas`` of a fake GPU, which records launches during capture. It is the selected backend.

    Of the kernels it has only those without CUDA: matmuls, which are captured as well, and `put_row`.
    """
    with registered_gpu(monkeypatch, new_cupy()) as machine:
        yield machine


@pytest.fixture
def fake_gpu_with_kernels(fake_gpu: SimpleNamespace, cuda: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`fake_gpu` with all kernels, whose CUDA code is emulated; the fixture ``cuda`` manages compiled files."""
    monkeypatch.setitem(sys.modules, "cupy", with_cuda(fake_gpu.cupy))
    fake_gpu.backend.kernels = KERNELS
    return fake_gpu


@contextmanager
def registered_gpu(
    monkeypatch: pytest.MonkeyPatch, cupy: Any, selected: str = "fakegpu", only: Sequence[str] | None = ("linear", "put_row")
) -> Iterator[SimpleNamespace]:
    """Register the plugin with this cupy as ``fakegpu``, with ``only`` these kernels."""
    blas = FakeBlas(cupy.machine)
    monkeypatch.setattr(gemm, "_cupy", lambda: cupy)
    monkeypatch.setattr(gemm, "load_library", lambda cupy: gemm.declared(blas))
    monkeypatch.setattr(gemm, "_thread_local", gemm.threading.local())
    monkeypatch.setattr(gemm, "_computed_in_float32", set())

    def create(device: str | None) -> CupyBackend:
        backend = CupyBackend(cupy, new_namespace(cupy), int(device or 0))
        backend.name = "fakegpu"
        if only is not None:
            backend.kernels = {name: backend.kernels[name] for name in only}
        return backend

    tt.register_backend("fakegpu", create)
    with tt.use_backend(selected) as backend:
        yield SimpleNamespace(backend=backend, cupy=cupy, blas=blas)


@pytest.fixture
def gpu() -> Iterator[SimpleNamespace]:
    """``backend`` and ``cupy`` on the emulated CUDA. It is the selected backend."""
    if not hooks.is_active():
        pytest.skip('needs the emulated CUDA: nox -s "tests(cupy_emulated)"')
    import cupy

    with tt.use_backend("cupy") as backend:
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
