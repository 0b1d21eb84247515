"""The registry of backends: one object for each device, loaded on first use, and errors that say how to fix the problem."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as compat_numpy
import numpy
import pytest

from tinytorch.backend import (
    Backend,
    BackendUnavailableError,
    Capabilities,
    UnknownBackendError,
    get_backend,
    known_backends,
    register_backend,
    registry,
    set_namespace_factory,
)


class PlainBackend(Backend):
    """A minimal third-party backend: numpy arrays under another name."""

    def __init__(self, name: str, device: str) -> None:
        super().__init__(name=name, device=device, xp=compat_numpy, capabilities=Capabilities(dtypes=frozenset({"float32"})))

    def owns(self, array: object) -> bool:
        return isinstance(array, numpy.ndarray | numpy.generic)

    def from_host(self, array: Any, dtype: str | None = None) -> Any:
        return numpy.array(array)

    def to_host(self, array: Any) -> Any:
        return array


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test with no instances, registrations, entry points or namespace factory."""
    monkeypatch.setattr(registry, "_instances", {})
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_namespace_factory", None)
    monkeypatch.setattr(registry, "_entry_points", lambda: ())


class TestNames:
    def test_a_name_and_the_name_with_its_default_device_are_one_object(self) -> None:
        assert get_backend("numpy") is get_backend("numpy:cpu") is get_backend(" numpy ")

    def test_the_default_device_may_be_requested_by_name_first(self) -> None:
        assert get_backend("numpy:cpu") is get_backend("numpy")

    def test_two_devices_are_two_objects(self) -> None:
        assert get_backend("strict:device1") is not get_backend("strict:device2")

    def test_the_spec_of_a_backend_returns_the_same_object(self) -> None:
        backend = get_backend("strict:device2")
        assert backend.spec == "strict:device2"
        assert get_backend(backend.spec) is backend

    def test_a_backend_or_a_device_can_be_passed_as_spec(self) -> None:
        backend = get_backend("numpy")
        assert get_backend(backend) is backend
        assert get_backend(SimpleNamespace(backend=backend)) is backend

    @pytest.mark.parametrize("spec", [None, 3, ["numpy"], SimpleNamespace(backend="numpy")])
    def test_any_other_type_raises_type_error(self, spec: Any) -> None:
        with pytest.raises(TypeError, match="expected the name of a backend such as 'cupy:1'"):
            get_backend(spec)

    def test_an_unknown_name_raises_with_the_known_names_and_a_suggestion(self) -> None:
        with pytest.raises(UnknownBackendError) as caught:
            get_backend("NumPi")
        assert str(caught.value) == "unknown backend 'NumPi'; expected one of numpy, cupy, torch, jax, strict, auto (did you mean 'numpy'?)"

    def test_an_unknown_name_that_resembles_no_other_gets_no_suggestion(self) -> None:
        with pytest.raises(UnknownBackendError, match=r"expected one of numpy, cupy, torch, jax, strict, auto$"):
            get_backend("xyzzy:3")

    @pytest.mark.parametrize("spec", ["cupy:", "auto:1"])
    def test_a_misplaced_colon_raises_with_the_expected_form(self, spec: str) -> None:
        with pytest.raises(UnknownBackendError, match="expected a backend and its device such as 'cupy:1'"):
            get_backend(spec)


class TestAuto:
    def test_falls_back_to_numpy_if_cupy_cannot_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unavailable(device: str | None) -> Backend:
            raise BackendUnavailableError("cupy", "no GPU", "buy one")

        self.pretend_cupy_is(unavailable, monkeypatch)
        assert get_backend("auto") is get_backend("numpy")

    def test_prefers_cupy_if_it_can_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pretend_cupy_is(lambda device: PlainBackend("cupy", device or "0"), monkeypatch)
        assert get_backend("auto") is get_backend("cupy:0")

    def test_does_not_hide_other_errors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(device: str | None) -> Backend:
            raise ZeroDivisionError

        self.pretend_cupy_is(broken, monkeypatch)
        with pytest.raises(ZeroDivisionError):
            get_backend("auto")

    def test_a_backend_requested_by_name_does_not_fall_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unavailable(device: str | None) -> Backend:
            raise BackendUnavailableError("cupy", "no GPU", "buy one")

        self.pretend_cupy_is(unavailable, monkeypatch)
        with pytest.raises(BackendUnavailableError, match="the cupy backend cannot run here: no GPU; buy one"):
            get_backend("cupy")

    @staticmethod
    def pretend_cupy_is(factory: registry.Factory, monkeypatch: pytest.MonkeyPatch) -> None:
        load = registry._load_shipped
        monkeypatch.setattr(registry, "_load_shipped", lambda name: factory if name == "cupy" else load(name))


class TestRegistration:
    def test_a_registered_factory_is_called_with_the_requested_device(self) -> None:
        register_backend("mine", lambda device: PlainBackend("mine", device or "first"))
        assert get_backend("mine") is get_backend("mine:first")
        assert get_backend("mine:cuda:1").device == "cuda:1"
        assert known_backends() == ("numpy", "cupy", "torch", "jax", "strict", "mine")

    def test_registering_again_replaces(self) -> None:
        register_backend("mine", lambda device: PlainBackend("mine", "old"))
        assert get_backend("mine").device == "old"
        register_backend("mine", lambda device: PlainBackend("mine", "new"))
        assert get_backend("mine").device == "new"

    @pytest.mark.parametrize("name", ["numpy", "auto"])
    def test_reserved_names_cannot_be_registered(self, name: str) -> None:
        with pytest.raises(ValueError, match="is reserved by tinytorch"):
            register_backend(name, lambda device: PlainBackend(name, "cpu"))

    @pytest.mark.parametrize("name", ["", "a:b", " a"])
    def test_malformed_names_raise(self, name: str) -> None:
        with pytest.raises(ValueError, match="must not be empty, contain a colon"):
            register_backend(name, lambda device: PlainBackend(name, "cpu"))

    def test_a_factory_that_does_not_return_a_backend_raises_type_error(self) -> None:
        register_backend("mine", lambda device: "numpy")  # type: ignore[arg-type, return-value]
        with pytest.raises(TypeError, match="must return a tinytorch Backend, got 'numpy'"):
            get_backend("mine")

    def test_a_plugin_that_does_not_own_its_0d_results_raises_type_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PlainBackend, "owns", lambda self, array: isinstance(array, numpy.ndarray))
        register_backend("mine", lambda device: PlainBackend("mine", "cpu"))
        with pytest.raises(
            TypeError, match=r"owns\(\) of the mine backend must accept .* it returns False for a numpy.float64 of shape \(\)"
        ):
            get_backend("mine")

    def test_a_missing_plugin_package_raises_with_an_install_hint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_SHIPPED", {"numpy": "tinytorch_nowhere:create_backend"})
        with pytest.raises(BackendUnavailableError, match=r"its plugin tinytorch_nowhere is not found; .* PYTHONPATH=\.:backends"):
            get_backend("numpy")


class FakeEntryPoint:
    """An entry point of an installed package in the group ``tinytorch.backends``."""

    value = "their_package:create"

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name = name
        self.error = error

    def load(self) -> registry.Factory:
        if self.error:
            raise self.error
        return lambda device: PlainBackend(self.name, device or "theirs")


class TestEntryPoints:
    def test_a_backend_of_another_package_is_found_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_entry_points", lambda: (FakeEntryPoint("theirs"),))
        assert get_backend("theirs").spec == "theirs:theirs"
        assert "theirs" in known_backends()

    def test_entry_points_are_not_read_for_a_shipped_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def explode() -> tuple[()]:
            raise AssertionError("entry points were read")

        monkeypatch.setattr(registry, "_entry_points", explode)
        assert get_backend("numpy").name == "numpy"

    def test_an_unknown_name_raises_with_the_names_of_entry_points_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_entry_points", lambda: (FakeEntryPoint("theirs"),))
        with pytest.raises(
            UnknownBackendError, match=r"expected one of numpy, cupy, torch, jax, strict, theirs, auto \(did you mean 'theirs'\?\)"
        ):
            get_backend("their")

    def test_one_that_fails_to_load_raises_with_the_name_of_its_plugin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_entry_points", lambda: (FakeEntryPoint("theirs", ImportError("no libfoo")),))
        with pytest.raises(BackendUnavailableError, match=r"its plugin their_package:create failed to load \(ImportError: no libfoo\)"):
            get_backend("theirs")


class TestNamespace:
    def test_a_new_backend_gets_its_namespace_from_the_factory(self) -> None:
        set_namespace_factory(lambda backend: f"namespace of {backend.spec}")
        assert get_backend("numpy").namespace == "namespace of numpy:cpu"

    def test_setting_the_factory_gives_existing_backends_a_namespace(self) -> None:
        backend = get_backend("numpy")
        assert backend.namespace is None
        set_namespace_factory(lambda backend: "late")
        assert backend.namespace == "late"


def test_concurrent_threads_get_one_object() -> None:
    made: list[Backend] = []
    barrier = threading.Barrier(8)

    def slow_factory(device: str | None) -> Backend:
        time.sleep(0.02)  # lets the other threads run: without the lock each would create its own
        made.append(PlainBackend("mine", "cpu"))
        return made[-1]

    def ask() -> None:
        barrier.wait()
        answers.append(get_backend("mine"))

    register_backend("mine", slow_factory)
    answers: list[Backend] = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert answers == made * 8


def test_importing_the_package_loads_no_array_library_and_no_plugin() -> None:
    # checks the imports of `tinytorch.backend` only, which loads `tinytorch` too
    heavy = ["array_api_compat", "array_api_strict", "cupy", "importlib.metadata", "tinytorch_numpy", "tinytorch_cupy", "tinytorch_strict"]
    program = f"import sys, tinytorch.backend; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
