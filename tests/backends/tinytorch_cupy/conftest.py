"""The `cuda` fixture: the kernels' own Python and CUDA, run on the CPU by the emulator beside this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.backends.tinytorch_cupy.emulator import fake_cupy
from tinytorch_cupy.kernels.launch import SOURCES


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module that the kernels take for cupy. Compiled files are kept from one run of the tests to the next."""
    reason = fake_cupy.usable()
    if reason is not None:
        pytest.skip(reason)
    cache = request.config.cache
    assert cache is not None
    fake_cupy.use_folder(Path(cache.mkdir("emulated_cuda")))
    fake = fake_cupy.module()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    _forget()
    yield fake
    _forget()


def _forget() -> None:
    """What was compiled for the emulator must not meet the GPU, nor the other way round."""
    for source in SOURCES.values():
        source._functions.clear()
    fake_cupy.state.order = 0
    fake_cupy.state.capability = "90"
