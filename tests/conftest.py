"""The `backend` fixture: a test that takes it runs once on each array library that this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import tinytorch as tt
from tinytorch.backend import Backend, backend_status
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE

ALWAYS = ("numpy", "strict")
WHERE_USABLE = ("cupy",)


def _unusable() -> dict[str, str]:
    """The backends that need hardware and cannot run here, with the reason."""
    return {s.name: f"{s.reason}; {s.hint}" for s in backend_status() if s.name in WHERE_USABLE and not s.ready}


def _wanted() -> list[str]:
    """The backend that the environment asks for, alone; otherwise all that can run here."""
    asked = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    return [asked] if asked else [name for name in (*ALWAYS, *WHERE_USABLE) if name not in _unusable()]


def pytest_report_header() -> list[str]:
    left_out = [] if os.environ.get(ENVIRONMENT_VARIABLE) else [f"  not {name}: {reason}" for name, reason in _unusable().items()]
    return [f"backends: {', '.join(_wanted())}", *left_out]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", _wanted(), indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend, chosen for the length of the test; one that cannot run here skips the test and says why."""
    try:
        chosen = tt.get_backend(request.param)
    except tt.BackendUnavailableError as error:
        pytest.skip(str(error))
    with tt.use_backend(chosen):
        yield chosen
