"""Each reason why cupy cannot run has a sentence and a mend of its own.

This drives the diagnosis with a fake cupy whose answers the tests choose; no GPU takes part, and nothing here shows that cupy computes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module, metadata
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import pytest

from tinytorch.backend import BackendUnavailableError
from tinytorch_cupy import create_backend, diagnosis


class FakeCudaError(RuntimeError):
    """Like cupy's CUDARuntimeError: a message and a status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class DynamicLibNotFoundError(RuntimeError):
    """Like cuda-pathfinder's error of this name."""


class FakeGPU:
    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> FakeGPU:
        return self

    def __exit__(self, *error: object) -> None: ...


class World:
    """A machine as the diagnosis sees it. It starts in perfect order: cupy for CUDA 12.9, a driver for 12.4, two GPUs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.installed = {"cupy-cuda12x": "14.2.0"}
        self.cupy = ModuleType("cupy")
        self.cupy.ones = numpy.ones  # type: ignore[attr-defined]
        self.cupy.cuda = SimpleNamespace(  # type: ignore[attr-defined]
            Device=FakeGPU,
            nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
            runtime=SimpleNamespace(driverGetVersion=lambda: 12040, runtimeGetVersion=lambda: 12090, getDeviceCount=lambda: 2),
        )
        monkeypatch.setitem(sys.modules, "cupy", self.cupy)
        monkeypatch.setattr(diagnosis.metadata, "version", self.version)
        monkeypatch.setattr(diagnosis, "driver_version", lambda: 12040)
        monkeypatch.setattr(diagnosis, "find_spec", self.no_such_package)
        monkeypatch.delitem(sys.modules, "google.colab", raising=False)
        for variable in ("COLAB_RELEASE_TAG", "CUDA_VISIBLE_DEVICES"):
            monkeypatch.delenv(variable, raising=False)

    def version(self, name: str) -> str:
        if name not in self.installed:
            raise metadata.PackageNotFoundError(name)
        return self.installed[name]

    def no_such_package(self, name: str) -> None:
        raise ModuleNotFoundError(name)

    def answers(self, function: str, value: Any) -> None:
        """Let ``cupy.cuda.runtime.function()`` return ``value``, or raise it."""
        setattr(self.cupy.cuda.runtime, function, raises(value) if isinstance(value, Exception) else lambda: value)

    def has_no_driver(self) -> None:
        self.answers("driverGetVersion", 0)
        self.monkeypatch.setattr(diagnosis, "driver_version", lambda: 0)

    def has_no_cupy(self) -> None:
        self.installed = {}
        self.monkeypatch.setitem(sys.modules, "cupy", None)

    def is_colab(self) -> None:
        self.monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")

    def complaint(self, device: str | None = None) -> str:
        """What the user reads, without the words that every such error begins with."""
        with pytest.raises(BackendUnavailableError) as caught:
            create_backend(device)
        return str(caught.value).removeprefix("the cupy backend cannot run here: ")


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    return fail


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_nothing_is_found_on_a_machine_in_order(world: World) -> None:
    assert diagnosis.checked_cupy(None) == (world.cupy, 0)
    assert diagnosis.checked_cupy("1") == (world.cupy, 1)


class TestPackage:
    def test_missing_beside_a_driver(self, world: World) -> None:
        world.has_no_cupy()
        assert world.complaint() == "cupy is not installed; type `pip install cupy-cuda12x`"

    def test_missing_without_a_driver_says_that_a_gpu_is_needed_too(self, world: World) -> None:
        world.has_no_cupy()
        world.has_no_driver()
        assert world.complaint() == (
            "cupy is not installed, and there is no NVIDIA driver either; "
            "on a machine with an NVIDIA GPU and its driver, type `pip install cupy-cuda12x`"
        )

    def test_missing_on_colab_names_the_menu(self, world: World) -> None:
        world.has_no_cupy()
        world.has_no_driver()
        world.is_colab()
        assert world.complaint().endswith("choose Runtime, Change runtime type, GPU in Colab's menu")

    def test_two_wheels_at_once(self, world: World) -> None:
        world.installed["cupy-cuda13x"] = "14.1.0"
        assert world.complaint() == (
            "2 cupy packages are installed over each other (cupy-cuda12x 14.2.0 and cupy-cuda13x 14.1.0); "
            "type `pip uninstall -y cupy-cuda12x cupy-cuda13x`, then `pip install cupy-cuda12x`"
        )

    def test_the_rest_of_a_removed_second_wheel(self, world: World) -> None:
        world.monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
        assert world.complaint() == "the installation of cupy is incomplete; type `pip install --force-reinstall cupy-cuda12x`"

    def test_that_does_not_import_shows_the_original_error(self, world: World) -> None:
        framed = ImportError("\n=====\nFailed to import CuPy.\n\nmany lines of advice\n=====")
        framed.__cause__ = ImportError("libstdc++.so.6: version `GLIBCXX_3.4.29' not found")
        world.monkeypatch.setattr(diagnosis, "import_module", raises(framed))
        assert world.complaint() == (
            "cupy is installed but does not import (libstdc++.so.6: version `GLIBCXX_3.4.29' not found); "
            "type `pip install --force-reinstall cupy-cuda12x`"
        )

    def test_that_lacks_a_package_of_its_own_is_installed_again_with_it(self, world: World) -> None:
        world.monkeypatch.setattr(diagnosis, "import_module", raises(ModuleNotFoundError("No module named 'cuda'", name="cuda")))
        assert world.complaint() == (
            "cupy is installed but does not import (No module named 'cuda'); type `pip install --force-reinstall cupy-cuda12x`"
        )


class TestDriver:
    def test_missing(self, world: World) -> None:
        world.has_no_driver()
        assert world.complaint() == "there is no NVIDIA driver; use a machine with an NVIDIA GPU, and install its driver"

    def test_missing_on_colab_names_the_menu(self, world: World) -> None:
        world.has_no_driver()
        world.is_colab()
        assert world.complaint() == "there is no NVIDIA driver; choose Runtime, Change runtime type, GPU in Colab's menu"

    def test_older_than_the_wheel_offers_the_wheel_that_fits(self, world: World) -> None:
        world.installed = {"cupy-cuda13x": "14.2.0"}
        world.answers("runtimeGetVersion", 13000)
        assert world.complaint() == (
            "the NVIDIA driver supports CUDA 12.4, but this cupy is built for CUDA 13.0; "
            "update the driver, or type `pip uninstall -y cupy-cuda13x`, then `pip install cupy-cuda12x`"
        )

    def test_too_old_for_any_wheel(self, world: World) -> None:
        world.answers("driverGetVersion", 11080)
        assert world.complaint() == (
            "the NVIDIA driver supports CUDA 11.8, but this cupy is built for CUDA 12.9; update the driver to one for CUDA 12 or newer"
        )

    def test_older_within_the_major_version_is_fine(self, world: World) -> None:
        world.answers("driverGetVersion", 12000)
        assert diagnosis.checked_cupy(None) == (world.cupy, 0)

    def test_too_old_by_its_own_account(self, world: World) -> None:
        world.answers("getDeviceCount", FakeCudaError(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient"))
        assert world.complaint() == "the NVIDIA driver is too old for this cupy; update the driver"


class TestGPU:
    def test_none(self, world: World) -> None:
        world.answers("getDeviceCount", FakeCudaError(100, "cudaErrorNoDevice: no CUDA-capable device is detected"))
        assert world.complaint() == (
            "CUDA finds no GPU (cudaErrorNoDevice: no CUDA-capable device is detected); check whether `nvidia-smi` lists a GPU"
        )

    def test_hidden_by_the_environment(self, world: World) -> None:
        world.answers("getDeviceCount", 0)
        world.monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert world.complaint() == "CUDA finds no GPU; unset CUDA_VISIBLE_DEVICES, which is '' and may hide it"

    def test_a_number_there_is_not(self, world: World) -> None:
        assert world.complaint("2") == "there is no GPU 2: this machine has 2, numbered from 0; type 'cupy:1'"

    @pytest.mark.parametrize("device", ["gpu", "-1", "1.0", "²"])
    def test_not_a_number(self, world: World, device: str) -> None:
        assert world.complaint(device) == f"expected the number of a GPU, got {device!r}; type 'cupy:0'"

    def test_that_fails_at_work(self, world: World) -> None:
        world.cupy.ones = raises(FakeCudaError(2, "cudaErrorMemoryAllocation: out of memory"))  # type: ignore[attr-defined]
        assert world.complaint() == (
            "a test computation fails on GPU 0 (cudaErrorMemoryAllocation: out of memory); "
            "check its memory and its errors with `nvidia-smi`"
        )

    def test_that_computes_wrongly(self, world: World) -> None:
        world.cupy.ones = numpy.zeros  # type: ignore[attr-defined]
        assert world.complaint().startswith("a test computation on GPU 0 gives a wrong result (expected 12, got 0.0)")


@pytest.mark.parametrize(
    ("error", "piece"),
    [
        (DynamicLibNotFoundError('Failure finding "libnvrtc.so.12": No such file: libnvrtc.so.12'), "the CUDA library libnvrtc.so.12 is"),
        (ImportError("libcublas.so.12: cannot open shared object file: No such file or directory"), "the CUDA library libcublas.so.12 is"),
        (ImportError("DLL load failed"), "a CUDA library (DLL load failed) is"),
        (RuntimeError("Failed to find CUDA headers. Please install them"), "the CUDA headers, which cupy needs to compile kernels, are"),
        (
            Exception('float16.cuh(19): catastrophic error: cannot open source file "cuda_fp16.h"'),
            "the CUDA headers, which cupy needs to compile kernels, are",
        ),
    ],
)
def test_a_missing_piece_of_the_cuda_toolkit_is_named(world: World, error: Exception, piece: str) -> None:
    world.cupy.cuda.nvrtc.getVersion = raises(error)
    assert world.complaint() == f'{piece} missing; type `pip install "cupy-cuda12x[ctk]"`'


def test_colab_is_known_by_its_variable_its_module_or_its_package(world: World) -> None:
    assert not diagnosis.on_colab()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLAB_RELEASE_TAG", "release-colab")
        assert diagnosis.on_colab()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
        assert diagnosis.on_colab()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnosis, "find_spec", lambda name: object())
        assert diagnosis.on_colab()


def test_with_several_gpus_every_function_first_makes_its_own_current() -> None:
    namespace = import_module("tinytorch_cupy.namespace")
    calls: list[str] = []
    library = ModuleType("library")
    library.zeros = lambda n: calls.append("zeros")  # type: ignore[attr-defined]
    library.linalg = ModuleType("library.linalg")  # type: ignore[attr-defined]
    library.linalg.qr = lambda x: calls.append("qr")
    library.float32 = numpy.float32  # type: ignore[attr-defined]
    bound = namespace.CupyNamespace(library, SimpleNamespace(use=lambda: calls.append("use")))
    bound.zeros(3)
    bound.linalg.qr(3)
    assert calls == ["use", "zeros", "use", "qr"]
    assert bound.float32 is numpy.float32
