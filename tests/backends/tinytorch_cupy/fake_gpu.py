"""A GPU for machines without one: the cupy backend over the fake cupy and the fake cuBLAS."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import tinytorch as tt
from tests.backends.tinytorch_cupy.fake_blas import FakeBlas
from tests.backends.tinytorch_cupy.fake_cupy import new_cupy, new_namespace
from tinytorch_cupy import gemm
from tinytorch_cupy.backend import CupyBackend
from tinytorch_cupy.kernels import KERNELS


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``backend``, ``cupy`` and ``blas`` of such a GPU; it is the chosen backend. Its products are captured as its other launches are."""
    cupy: Any = new_cupy()
    blas = FakeBlas()
    blas.defer = cupy.gpu.do
    monkeypatch.setattr(gemm, "_cupy", lambda: cupy)
    monkeypatch.setattr(gemm, "load_library", lambda cupy: gemm.declared(blas))
    monkeypatch.setattr(gemm, "_own", gemm.threading.local())

    def create(device: str | None) -> CupyBackend:
        backend = CupyBackend(cupy, new_namespace(cupy), 0)
        backend.name = "fakegpu"
        backend.kernels = {name: KERNELS[name] for name in ("linear", "put_row")}  # the others are CUDA
        return backend

    tt.register_backend("fakegpu", create)
    with tt.use_backend("fakegpu") as backend:
        yield SimpleNamespace(backend=backend, cupy=cupy, blas=blas)
