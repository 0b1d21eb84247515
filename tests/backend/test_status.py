"""`backend_status` reports the state of every backend, also if one of them is broken."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tinytorch.backend import Backend, BackendStatus, BackendUnavailableError, backend_status, register_backend, registry


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove registrations after each test."""
    monkeypatch.setattr(registry, "_instances", {})
    monkeypatch.setattr(registry, "_registered", {})


def row(name: str) -> BackendStatus:
    return {status.name: status for status in backend_status()}[name]


def test_every_shipped_backend_has_a_row() -> None:
    assert [status.name for status in backend_status()][:5] == ["numpy", "cupy", "torch", "jax", "strict"]


def test_a_ready_backend_shows_its_device_memory_and_versions() -> None:
    import numpy

    numpy_row = row("numpy")
    assert numpy_row.ready
    assert numpy_row.device == "cpu"
    assert numpy_row.reason is None
    assert numpy_row.versions == {"numpy": numpy.__version__}
    if numpy_row.memory is not None:  # not every system has /proc
        assert 0 < numpy_row.memory.used < numpy_row.memory.total


def test_an_unavailable_backend_shows_reason_and_hint() -> None:
    def unavailable(device: str | None) -> Backend:
        raise BackendUnavailableError("mine", "no such chip", "solder one in")

    register_backend("mine", unavailable)
    assert row("mine") == BackendStatus("mine", ready=False, reason="no such chip", hint="solder one in")


def test_a_plugin_that_raises_another_error_has_a_row_too() -> None:
    def broken(device: str | None) -> Backend:
        raise KeyError("oops")

    register_backend("mine", broken)
    mine = row("mine")
    assert not mine.ready
    assert mine.reason == "its plugin failed with KeyError: 'oops'"
    assert row("numpy").ready


def test_rows_can_be_serialized_as_json() -> None:
    rows = [dataclasses.asdict(status) for status in backend_status()]
    assert json.loads(json.dumps(rows)) == rows
