"""`tinytorch backends --check` checks the kernels and prints the results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tinytorch.cli import kernel_checks, main
from tinytorch.testing import CheckReport, KernelCheck

PASSED = [
    KernelCheck("matmul", "float32", 156, 0.25, 0.5),
    KernelCheck("packed_attention", "float32", 31, 0.125, 1.0),
    KernelCheck("matmul", "float16", 156, 0.5, 0.25),
    KernelCheck("packed_attention", "float16", 0, 0.0, 0.0),  # not supported
]
WRONG = KernelCheck("gelu", "float32", 22, 31.0, 0.25, "the largest error is 31 times the tolerance")
CRASHED = KernelCheck("adam", "bfloat16", 0, None, 0.25, "its process was killed by SIGSEGV")


class Machine:
    """Answers the checks of every backend; those of other backends find no kernels."""

    def __init__(self) -> None:
        self.reports = {
            "numpy": CheckReport("numpy", "cpu", None, [*PASSED]),
            "cupy": CheckReport("cupy", reason="there is no GPU", hint="use a machine with a GPU"),
        }
        self.stored: list[str] = []

    def run_checks(self, spec: str, limit: float, limit_call: float) -> CheckReport:
        return self.reports.get(spec, CheckReport(spec, "cpu"))

    def store(self, report: CheckReport) -> None:
        self.stored.append(report.spec)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    fake = Machine()
    monkeypatch.setattr(kernel_checks, "run_checks", fake.run_checks)
    monkeypatch.setattr(kernel_checks, "store", fake.store)
    monkeypatch.setattr(kernel_checks, "known_backends", lambda: ("numpy", "cupy", "strict"))
    return fake


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["backends", "--check", *arguments]) == code
    return " ".join(capsys.readouterr().out.split())


def test_the_table_has_one_row_per_kernel(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = output(capsys, "numpy")
    assert "numpy:cpu matmul float32, float16 312 passed 0.5 0.8 s" in words
    assert "numpy:cpu packed_attention float32 31 passed 0.12 1.0 s" in words


def test_it_fits_into_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    machine.reports["numpy"].results.extend([WRONG, CRASHED])
    assert main(["backends", "--check", "numpy"]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "packed_attention" in out
    assert "FAILED" in out


def test_without_names_all_backends_are_checked(capsys: pytest.CaptureFixture[str], machine: Machine) -> None:
    words = output(capsys)
    assert "cupy: not checked: there is no GPU; use a machine with a GPU" in words
    assert "strict:cpu: it has no kernels" in words
    assert machine.stored == ["numpy", "cupy", "strict"]


@pytest.mark.parametrize("bad", [WRONG, CRASHED])
def test_a_failure_is_explained_and_the_exit_code_is_1(capsys: pytest.CaptureFixture[str], machine: Machine, bad: KernelCheck) -> None:
    machine.reports["numpy"] = CheckReport("numpy", "cpu", None, [*PASSED, bad])
    words = output(capsys, "numpy", code=1)
    assert f"numpy:cpu: {bad.kernel} failed in {bad.dtype}: {bad.failure}" in words


def test_an_incomplete_check_is_not_a_success(capsys: pytest.CaptureFixture[str], machine: Machine) -> None:
    machine.reports["numpy"] = CheckReport("numpy", "cpu", None, PASSED, [("relu", "float32")])
    assert "not checked, for lack of time: relu in float32" in output(capsys, "numpy", code=1)


def test_json_has_the_checks_of_each_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends", "--check", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [["name", "ready", "device", "reason", "hint", "checks"]] * 3
    assert rows[0]["checks"][0] == {
        "kernel": "matmul",
        "dtype": "float32",
        "calls": 156,
        "error": 0.25,
        "seconds": 0.5,
        "failure": None,
    }
    assert (rows[1]["ready"], rows[1]["reason"], rows[1]["checks"]) == (False, "there is no GPU", [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "numpi"], "unknown backend 'numpi'"),
        (["--check", "cupy"], "the cupy backend cannot run here: there is no GPU; use a machine with a GPU"),
        (["numpy"], "type `tinytorch backends --check numpy`"),
    ],
)
def test_wrong_names_are_errors(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["backends", *arguments]) == 2
    assert message in capsys.readouterr().err
