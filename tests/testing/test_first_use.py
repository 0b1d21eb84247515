"""Kernels that fail their check on the first use of a device are removed, with one warning, and the verdict is cached."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tinytorch.backend import Backend
from tinytorch.io.errors import InputError
from tinytorch.io.locking import locked
from tinytorch.testing import CheckReport, KernelCheck, first_use
from tinytorch.testing.first_use import remove_failed_kernels, source_hash, store
from tinytorch.testing.kernel_check import checks_of
from tinytorch_numpy import create_backend
from tinytorch_numpy.kernels import KERNELS

KEY = {"GPU": "Imaginary 100", "driver": "1.2"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory; the check is enabled."""
    monkeypatch.setattr(first_use, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.delenv("TINYTORCH_SELF_CHECK", raising=False)
    return tmp_path / "cache"


class Machine:
    """Creates backends with the kernels relu and gelu, and answers their checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing: dict[str, str] = {}
        self.unchecked: list[tuple[str, str]] = []
        self.reason: str | None = None
        self.key: dict[str, str] | None = KEY
        self.calls: list[tuple[Any, ...]] = []
        monkeypatch.setattr(first_use, "run_checks", self.run_checks)

    def run_checks(self, spec: str, limit: float, limit_call: float, skip: Any) -> CheckReport:
        self.calls.append((spec, limit, list(skip)))
        wanted = [check for check in checks_of(self.backend()) if check not in [*skip, *self.unchecked]]
        results = [KernelCheck(name, dtype, 3, 0.5, 0.1, self.failing.get(name)) for name, dtype in wanted]
        return CheckReport(spec, "cpu", self.key, results, self.unchecked, self.reason, None if self.reason is None else "try again")

    def backend(self) -> Backend:
        backend = create_backend()
        backend.kernels = {"relu": KERNELS["relu"], "gelu": KERNELS["gelu"]}
        backend.self_check_key = lambda: self.key  # type: ignore[method-assign]
        return backend

    def first_use(self) -> Backend:
        backend = self.backend()
        remove_failed_kernels(backend)
        return backend


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Machine:
    return Machine(monkeypatch)


def test_kernels_that_pass_stay_and_one_line_tells_what_happens(
    machine: Machine, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert set(machine.first_use().kernels) == {"relu", "gelu"}
    out, err = capsys.readouterr()
    assert (out, err) == ("", "checking the kernels of numpy:cpu (once per device and version, at most 30 s) ... 3 passed, 0 s\n")
    assert caplog.messages == []
    assert machine.calls == [("numpy:cpu", 30.0, [])]


def test_a_kernel_that_fails_is_removed_with_one_warning_that_says_what_to_report(
    machine: Machine, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.failing = {"relu": "NaN or infinity"}
    assert set(machine.first_use().kernels) == {"gelu"}
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("tinytorch", "WARNING")
    for part in (
        "relu (float32: NaN or infinity)",
        "numpy:cpu",
        "report this message",
        "GPU Imaginary 100, driver 1.2",
        "can check again",
    ):
        assert part in record.getMessage()
    assert "2 passed, 1 failed" in capsys.readouterr().err


def test_a_failing_matmul_is_returned_for_the_plugin_to_replace(machine: Machine) -> None:
    machine.failing = {"matmul": "wrong"}
    assert remove_failed_kernels(machine.backend()) == {"matmul"}


def test_the_verdict_is_cached_and_applied_again(
    machine: Machine, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    machine.failing = {"relu": "wrong"}
    machine.first_use()
    capsys.readouterr()
    machine.failing = {}
    assert set(machine.first_use().kernels) == {"gelu"}
    assert len(machine.calls) == 1
    assert capsys.readouterr().err == ""
    assert len(caplog.records) == 2  # one for each process, that is for each backend


def test_another_device_version_or_source_is_checked_again(machine: Machine) -> None:
    machine.first_use()
    for machine.key in (KEY | {"GPU": "Imaginary 200"}, KEY | {"driver": "1.3"}):
        machine.first_use()
    assert len(machine.calls) == 3


def test_what_was_not_checked_in_time_stays_and_is_checked_the_next_time(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.unchecked = [("relu", "float16"), ("relu", "float64")]
    assert set(machine.first_use().kernels) == {"relu", "gelu"}
    assert "2 checks left for the next time" in capsys.readouterr().err
    machine.unchecked = []
    machine.first_use()
    checked = machine.calls[1][2]
    assert set(checks_of(machine.backend())) - set(checked) == {("relu", "float16"), ("relu", "float64")}
    machine.first_use()
    assert len(machine.calls) == 2


def test_a_check_that_cannot_run_changes_nothing_and_says_how_to_turn_it_off(
    machine: Machine, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    machine.reason, machine.unchecked = "there is not enough memory", checks_of(machine.backend())
    assert set(machine.first_use().kernels) == {"relu", "gelu"}
    err = capsys.readouterr().err
    assert "not complete: there is not enough memory (TINYTORCH_SELF_CHECK=off turns the check off)" in err
    assert list(cache.rglob("*.json")) == []


@pytest.mark.parametrize("value", ["off", " OFF "])
def test_the_environment_variable_turns_it_off(machine: Machine, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TINYTORCH_SELF_CHECK", value)
    machine.first_use()
    assert machine.calls == []


def test_other_values_of_the_environment_variable_are_errors(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTORCH_SELF_CHECK", "no")
    with pytest.raises(InputError, match="TINYTORCH_SELF_CHECK must be 'on' or 'off', got 'no'"):
        machine.first_use()


def test_a_backend_without_a_key_is_not_checked(machine: Machine) -> None:
    machine.key = None
    machine.first_use()
    assert machine.calls == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"results": [{"kernel": 1}]}', '{"results": 5}'])
def test_a_damaged_cache_file_is_replaced(machine: Machine, cache: Path, content: str) -> None:
    machine.first_use()
    (path,) = cache.rglob("*.json")
    path.write_text(content, encoding="utf-8")
    machine.first_use()
    assert len(machine.calls) == 2
    assert len(json.loads(path.read_text(encoding="utf-8"))["results"]) == len(checks_of(machine.backend()))


@pytest.mark.parametrize("blocked", ["cache", "cache/self_check"])
def test_an_unwritable_cache_is_logged_and_the_check_runs_each_time(
    machine: Machine, cache: Path, blocked: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = cache.parent / blocked  # a file where a directory should be
    file.parent.mkdir(exist_ok=True)
    file.touch()
    caplog.set_level(logging.INFO, "tinytorch")
    machine.failing = {"relu": "wrong"}
    for _ in range(2):
        assert set(machine.first_use().kernels) == {"gelu"}
    assert len(machine.calls) == 2
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"] * 2
    assert "cannot be cached" in caplog.messages[0]


@pytest.mark.skipif(os.name != "posix", reason="Windows does not remove an open file")
def test_a_process_waits_for_another_one_that_checks_and_uses_its_verdict(
    machine: Machine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.first_use()
    (path,) = cache.rglob("*.json")
    verdict = path.read_bytes()
    path.unlink()
    held = locked(path.with_suffix(".lock"), path)
    held.__enter__()

    def other_process_ends(seconds: float) -> None:
        path.write_bytes(verdict)
        held.__exit__(None, None, None)

    monkeypatch.setattr(first_use.time, "sleep", other_process_ends)
    machine.first_use()
    assert len(machine.calls) == 1


def test_a_new_check_replaces_the_cached_verdict(machine: Machine) -> None:
    machine.failing = {"relu": "wrong"}
    machine.first_use()
    machine.failing = {}
    store(machine.run_checks("numpy", 1.0, 1.0, []))
    assert set(machine.first_use().kernels) == {"relu", "gelu"}


def test_the_hash_of_sources_depends_on_names_and_contents(tmp_path: Path) -> None:
    one, other = tmp_path / "a.cu", tmp_path / "b.cu"
    one.write_text("x", encoding="utf-8")
    before = source_hash([one])
    other.write_text("x", encoding="utf-8")
    assert len({before, source_hash([other]), source_hash([one, other])}) == 3
    assert source_hash([other, one]) == source_hash([one, other])
    one.write_text("y", encoding="utf-8")
    assert source_hash([one]) != before
