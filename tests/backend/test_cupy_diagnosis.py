"""Each reason why cupy cannot run has its own message and hint.

The tests use a fake cupy and need no GPU. They do not test that cupy computes.
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
    """Like CUDARuntimeError of cupy: a message and a status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class DynamicLibNotFoundError(RuntimeError):
    """Like the error of this name in cuda-pathfinder."""


class FakeGPU:
    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> FakeGPU:
        return self

    def __exit__(self, *error: object) -> None: ...


class FakeMachine:
    """A fake machine. By default everything works: cupy for CUDA 12.9, a driver for 12.4, two GPUs."""

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

    def message(self, device: str | None = None) -> str:
        """The error message without its common prefix."""
        with pytest.raises(BackendUnavailableError) as caught:
            create_backend(device)
        return str(caught.value).removeprefix("the cupy backend cannot run here: ")


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    return fail


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    return FakeMachine(monkeypatch)


def test_a_working_machine_passes_the_check(machine: FakeMachine) -> None:
    assert diagnosis.checked_cupy(None) == (machine.cupy, 0)
    assert diagnosis.checked_cupy("1") == (machine.cupy, 1)


class TestPackage:
    def test_missing_with_a_driver(self, machine: FakeMachine) -> None:
        machine.has_no_cupy()
        assert machine.message() == "cupy is not installed; type `pip install cupy-cuda12x`"

    def test_missing_without_a_driver_mentions_the_gpu_too(self, machine: FakeMachine) -> None:
        machine.has_no_cupy()
        machine.has_no_driver()
        assert machine.message() == (
            "cupy is not installed, and there is no NVIDIA driver either; "
            "on a machine with an NVIDIA GPU and its driver, type `pip install cupy-cuda12x`"
        )

    def test_missing_on_colab_mentions_the_runtime_menu(self, machine: FakeMachine) -> None:
        machine.has_no_cupy()
        machine.has_no_driver()
        machine.is_colab()
        assert machine.message().endswith("choose Runtime, Change runtime type, GPU in Colab's menu")

    def test_two_wheels_installed(self, machine: FakeMachine) -> None:
        machine.installed["cupy-cuda13x"] = "14.1.0"
        assert machine.message() == (
            "2 cupy packages are installed over each other (cupy-cuda12x 14.2.0 and cupy-cuda13x 14.1.0); "
            "type `pip uninstall -y cupy-cuda12x cupy-cuda13x`, then `pip install cupy-cuda12x`"
        )

    def test_files_left_by_a_removed_second_wheel(self, machine: FakeMachine) -> None:
        machine.monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
        assert machine.message() == "the installation of cupy is incomplete; type `pip install --force-reinstall cupy-cuda12x`"

    def test_import_error_shows_the_original_error(self, machine: FakeMachine) -> None:
        framed = ImportError("\n=====\nFailed to import CuPy.\n\nmany lines of advice\n=====")
        framed.__cause__ = ImportError("libstdc++.so.6: version `GLIBCXX_3.4.29' not found")
        machine.monkeypatch.setattr(diagnosis, "import_module", raises(framed))
        assert machine.message() == (
            "cupy is installed but does not import (libstdc++.so.6: version `GLIBCXX_3.4.29' not found); "
            "type `pip install --force-reinstall cupy-cuda12x`"
        )

    def test_a_missing_dependency_suggests_reinstalling(self, machine: FakeMachine) -> None:
        machine.monkeypatch.setattr(diagnosis, "import_module", raises(ModuleNotFoundError("No module named 'cuda'", name="cuda")))
        assert machine.message() == (
            "cupy is installed but does not import (No module named 'cuda'); type `pip install --force-reinstall cupy-cuda12x`"
        )


class TestDriver:
    def test_missing(self, machine: FakeMachine) -> None:
        machine.has_no_driver()
        assert machine.message() == "there is no NVIDIA driver; use a machine with an NVIDIA GPU, and install its driver"

    def test_missing_on_colab_mentions_the_runtime_menu(self, machine: FakeMachine) -> None:
        machine.has_no_driver()
        machine.is_colab()
        assert machine.message() == "there is no NVIDIA driver; choose Runtime, Change runtime type, GPU in Colab's menu"

    def test_older_than_the_wheel_suggests_a_matching_wheel(self, machine: FakeMachine) -> None:
        machine.installed = {"cupy-cuda13x": "14.2.0"}
        machine.answers("runtimeGetVersion", 13000)
        assert machine.message() == (
            "the NVIDIA driver supports CUDA 12.4, but this cupy is built for CUDA 13.0; "
            "update the driver, or type `pip uninstall -y cupy-cuda13x`, then `pip install cupy-cuda12x`"
        )

    def test_newer_than_the_wheel_passes(self, machine: FakeMachine) -> None:
        machine.answers("driverGetVersion", 13000)
        assert diagnosis.checked_cupy(None) == (machine.cupy, 0)

    def test_too_old_for_any_wheel(self, machine: FakeMachine) -> None:
        machine.answers("driverGetVersion", 11080)
        assert machine.message() == (
            "the NVIDIA driver supports CUDA 11.8, but this cupy is built for CUDA 12.9; update the driver to one for CUDA 12 or newer"
        )

    def test_older_within_the_major_version_passes(self, machine: FakeMachine) -> None:
        machine.answers("driverGetVersion", 12000)
        assert diagnosis.checked_cupy(None) == (machine.cupy, 0)

    def test_too_old_as_reported_by_the_driver(self, machine: FakeMachine) -> None:
        machine.answers("getDeviceCount", FakeCudaError(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient"))
        assert machine.message() == "the NVIDIA driver is too old for this cupy; update the driver"


class TestGPU:
    def test_none(self, machine: FakeMachine) -> None:
        machine.answers("getDeviceCount", FakeCudaError(100, "cudaErrorNoDevice: no CUDA-capable device is detected"))
        assert machine.message() == (
            "CUDA finds no GPU (cudaErrorNoDevice: no CUDA-capable device is detected); check whether `nvidia-smi` lists a GPU"
        )

    def test_hidden_by_the_environment(self, machine: FakeMachine) -> None:
        machine.answers("getDeviceCount", 0)
        machine.monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert machine.message() == "CUDA finds no GPU; unset CUDA_VISIBLE_DEVICES, which is '' and may hide it"

    def test_a_number_there_is_not(self, machine: FakeMachine) -> None:
        assert machine.message("2") == "there is no GPU 2: this machine has 2, numbered from 0; type 'cupy:1'"

    @pytest.mark.parametrize("device", ["gpu", "-1", "1.0", "²"])
    def test_not_a_number(self, machine: FakeMachine, device: str) -> None:
        assert machine.message(device) == f"expected the number of a GPU, got {device!r}; type 'cupy:0'"

    def test_that_fails_at_work(self, machine: FakeMachine) -> None:
        machine.cupy.ones = raises(FakeCudaError(2, "cudaErrorMemoryAllocation: out of memory"))  # type: ignore[attr-defined]
        assert machine.message() == (
            "a test computation fails on GPU 0 (cudaErrorMemoryAllocation: out of memory); "
            "check its memory and its errors with `nvidia-smi`"
        )

    def test_that_computes_wrongly(self, machine: FakeMachine) -> None:
        machine.cupy.ones = numpy.zeros  # type: ignore[attr-defined]
        assert machine.message().startswith("a test computation on GPU 0 gives a wrong result (expected 12, got 0.0)")


@pytest.mark.parametrize(
    ("error", "component"),
    [
        (DynamicLibNotFoundError('Failure finding "libnvrtc.so.12": No such file: libnvrtc.so.12'), "the CUDA library libnvrtc.so.12 is"),
        (ImportError("libcublas.so.12: cannot open shared object file: No such file or directory"), "the CUDA library libcublas.so.12 is"),
        (ImportError("DLL load failed"), "a CUDA library (DLL load failed) is"),
        (RuntimeError("Failed to find CUDA headers. Please install them"), "the CUDA headers, which cupy needs to compile kernels, are"),
        (
            Exception('float16.cuh(19): catastrophic error: cannot open source file "cuda_fp16.h"'),
            "the CUDA headers, which cupy needs to compile kernels, are",
        ),
        (
            Exception('bfloat16.cuh(12): catastrophic error: cannot open source file "cuda_bf16.h"'),  # cupy's wheels lack it
            "the CUDA headers, which cupy needs to compile kernels, are",
        ),
    ],
)
def test_a_missing_component_of_the_cuda_toolkit_is_named(machine: FakeMachine, error: Exception, component: str) -> None:
    machine.cupy.cuda.nvrtc.getVersion = raises(error)
    assert machine.message() == f'{component} missing; type `pip install "cupy-cuda12x[ctk]"`'


def test_colab_is_detected_by_its_variable_module_or_package(machine: FakeMachine) -> None:
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


def test_with_several_gpus_every_function_first_sets_the_current_device() -> None:
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
