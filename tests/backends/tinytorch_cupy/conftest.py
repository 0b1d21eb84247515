"""Fixtures for machines without a GPU: the CUDA kernels on an emulator, and the backend over a fake cupy."""

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
from tinytorch.autograd import operation
from tinytorch_cupy import gemm
from tinytorch_cupy.backend import CupyBackend
from tinytorch_cupy.kernels import KERNELS
from tinytorch_cupy.kernels.launch import SOURCES


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module that the kernels take for cupy. Compiled files are kept from one run of the tests to the next."""
    reason = fake_cupy.usable()
    if reason is not None:
        pytest.skip(reason)
    cache = getattr(request.config, "cache", None)  # pytest may run without
    fake_cupy.use_folder(Path(cache.mkdir("emulated_cuda")) if cache else tmp_path_factory.getbasetemp())
    fake = fake_cupy.module()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    _forget()
    token = operation._use_kernels.set(True)  # these are what is tested, even where all others are turned off
    yield fake
    operation._use_kernels.reset(token)
    _forget()


def _forget() -> None:
    """What was compiled for the emulator must not meet the GPU, nor the other way round."""
    for source in SOURCES.values():
        source._functions.clear()
    fake_cupy.state.order = 0
    fake_cupy.state.capability = "90"


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """``backend``, ``cupy`` and ``blas`` of a GPU that defers its launches as one does; it is the chosen backend.

    Matmuls are captured as its other launches are; of the kernels it has those that are such matmuls, and no CUDA.
    """
    with _machine(monkeypatch, new_cupy()) as machine:
        yield machine


@pytest.fixture
def whole_gpu(fake_gpu: SimpleNamespace, cuda: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`fake_gpu` with all kernels, whose CUDA is emulated; ``cuda`` looks after what is compiled."""
    monkeypatch.setitem(sys.modules, "cupy", with_cuda(fake_gpu.cupy))
    fake_gpu.backend.kernels = KERNELS
    return fake_gpu


@pytest.fixture
def two_gpus(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The same with two GPUs and all kernels; the first is the current one, and ``fakegpu:1`` the chosen backend."""
    cupy = new_cupy(gpus=2)
    monkeypatch.setitem(sys.modules, "cupy", with_cuda(cupy))
    with _machine(monkeypatch, cupy, "fakegpu:1", only=None) as machine:
        cupy.machine.current = 0
        yield machine


@contextmanager
def _machine(
    monkeypatch: pytest.MonkeyPatch, cupy: Any, chosen: str = "fakegpu", only: Sequence[str] | None = ("linear", "put_row")
) -> Iterator[SimpleNamespace]:
    """The plugin over this cupy as ``fakegpu``, with ``only`` these of its kernels."""
    blas = FakeBlas(cupy.machine)
    monkeypatch.setattr(gemm, "_cupy", lambda: cupy)
    monkeypatch.setattr(gemm, "load_library", lambda cupy: gemm.declared(blas))
    monkeypatch.setattr(gemm, "_thread_local", gemm.threading.local())

    def create(device: str | None) -> CupyBackend:
        backend = CupyBackend(cupy, new_namespace(cupy), int(device or 0))
        backend.name = "fakegpu"
        if only is not None:
            backend.kernels = {name: backend.kernels[name] for name in only}
        return backend

    tt.register_backend("fakegpu", create)
    with tt.use_backend(chosen) as backend:
        yield SimpleNamespace(backend=backend, cupy=cupy, blas=blas)
