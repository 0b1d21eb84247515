"""`tinytorch backends` lists the backends for people and scripts."""

from __future__ import annotations

import json

import pytest

from tinytorch.backend import BackendStatus, MemoryInfo
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.cli import backends, main

ROWS = [
    BackendStatus("numpy", ready=True, device="cpu", memory=MemoryInfo(2**29, 2**34), versions={"numpy": "2.0.0", "blas": "[3.1]"}),
    BackendStatus(
        "cupy", ready=False, reason="cupy is not installed", hint="on a machine with a GPU, type `pip install cupy-cuda12x[ctk]`"
    ),
    BackendStatus("strict", ready=True, device="cpu", versions={"array-api-strict": "2.6.1"}),
]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates a machine without a GPU and without a selected backend."""
    monkeypatch.setattr(backends, "backend_status", lambda: ROWS)
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


def table_output(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["backends"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_json_is_a_list_of_objects_with_these_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [["name", "ready", "device", "reason", "hint"]] * 3
    assert rows[0] == {"name": "numpy", "ready": True, "device": "cpu", "reason": None, "hint": None}
    assert rows[1]["hint"] == "on a machine with a GPU, type `pip install cupy-cuda12x[ctk]`"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_contains_all_values(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = table_output(capsys)
    assert max(map(len, out.splitlines())) <= width
    words = " ".join(out.split())
    for part in ("cpu 0.50 of 16.0 GiB numpy 2.0.0, blas [3.1]", "cupy is not installed", ROWS[1].hint, "cpu - array-api-strict 2.6.1"):
        assert str(part) in words


def test_output_to_a_pipe_has_no_colors(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in table_output(capsys)


def test_the_current_backend_is_marked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = table_output(capsys)
    assert "numpy * " in out
    assert "numpy:cpu (the default)" in " ".join(out.split())
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "strict")
    out = table_output(capsys)
    assert "strict * " in out
    assert f"(set by {ENVIRONMENT_VARIABLE})" in " ".join(out.split())


def test_an_invalid_current_backend_is_reported_with_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "numpi")
    words = " ".join(table_output(capsys).split())
    assert "unknown backend 'numpi'" in words
    assert "array-api-strict" in words
