"""The default backend: set by a `use_backend` block, the process, the environment, else numpy."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import threading

import pytest

from tinytorch.backend import (
    BackendUnavailableError,
    UnknownBackendError,
    current_backend,
    get_backend,
    selection,
    set_backend,
    use_backend,
)


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test without a process default or environment variable."""
    monkeypatch.delenv("TINYTORCH_BACKEND", raising=False)
    monkeypatch.setattr(selection, "_process_default", None)


def test_the_default_is_numpy() -> None:
    assert current_backend() is get_backend("numpy")


def test_the_environment_is_read_at_each_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTORCH_BACKEND", "strict:device2")
    assert current_backend() is get_backend("strict:device2")
    monkeypatch.setenv("TINYTORCH_BACKEND", "")
    assert current_backend() is get_backend("numpy")


def test_the_environment_is_not_read_at_import() -> None:
    program = (
        "import os, tinytorch.backend as b; os.environ['TINYTORCH_BACKEND'] = 'strict';"
        "print(b.current_backend().spec); del os.environ['TINYTORCH_BACKEND']; print(b.current_backend().spec)"
    )
    environment = {**os.environ, "TINYTORCH_BACKEND": "no_such_backend"}  # would raise if it were read at import
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["strict:cpu", "numpy:cpu"]


def test_set_backend_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTORCH_BACKEND", "numpy")
    set_backend("strict")
    assert current_backend() is get_backend("strict")
    set_backend(None)
    assert current_backend() is get_backend("numpy")


def test_use_backend_overrides_set_backend() -> None:
    set_backend("strict")
    with use_backend("numpy") as backend:
        assert current_backend() is backend is get_backend("numpy")
    assert current_backend() is get_backend("strict")


def test_use_backend_blocks_can_be_nested() -> None:
    with use_backend("strict"):
        with use_backend("strict:device1"):
            assert current_backend().device == "device1"
        assert current_backend().device == "cpu"


def test_an_error_in_a_block_restores_the_default() -> None:
    with pytest.raises(ZeroDivisionError), use_backend("strict"):
        raise ZeroDivisionError
    assert current_backend() is get_backend("numpy")


def test_use_backend_affects_its_own_thread_and_set_backend_all_threads() -> None:
    set_backend("strict")
    with use_backend("numpy"):
        assert in_thread(lambda: current_backend().name) == "strict"
        assert in_thread(lambda: contextvars.copy_context().run(lambda: current_backend().name)) == "strict"
        context = contextvars.copy_context()  # passes the setting of the block to another thread
        assert in_thread(lambda: context.run(lambda: current_backend().name)) == "numpy"


def in_thread(work: object) -> object:
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(work()))  # type: ignore[operator]
    thread.start()
    thread.join()
    return answers[0]


def test_an_unknown_name_raises_before_the_block() -> None:
    with pytest.raises(UnknownBackendError), use_backend("numpi"):
        raise AssertionError("the block was entered")


def test_a_failed_set_backend_keeps_the_previous_setting() -> None:
    set_backend("strict")
    with pytest.raises(UnknownBackendError):
        set_backend("numpi")
    assert current_backend() is get_backend("strict")


def test_an_unknown_name_in_the_environment_raises_with_the_name_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTORCH_BACKEND", "numpi")
    with pytest.raises(UnknownBackendError, match=r"TINYTORCH_BACKEND=numpi: unknown backend 'numpi'"):
        current_backend()


def test_an_unavailable_backend_in_the_environment_raises_with_the_name_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTORCH_BACKEND", "strict:device9")
    with pytest.raises(BackendUnavailableError, match=r"the strict backend .*device9.*; or unset TINYTORCH_BACKEND"):
        current_backend()
