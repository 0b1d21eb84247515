"""Kernels are checked in child processes: a crash, a hang or an exception is a failure of the kernel that ran, and of no other."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tinytorch.testing import CheckReport, KernelCheck, run_checks

#: A child that "checks" two kernels and does what the test wants in between; ``say`` reports an event.
CHILD = """
import json, os, signal, sys, time
request = json.loads(sys.argv[-1])
skip = [tuple(check) for check in request["skip"]]
def say(event, value):
    print(json.dumps({event: value}), flush=True)
def begin(*names):
    say("ready", {"device": "0", "key": None, "checks": [[name, "float32"] for name in names]})
def check(name, failure=None, error=0.5):
    if (name, "float32") not in skip:
        say("start", [name, "float32"])
        say("result", {"kernel": name, "dtype": "float32", "calls": 3, "error": error, "seconds": 0.1, "failure": failure})
def start(name):
    if (name, "float32") in skip:
        return False
    say("start", [name, "float32"])
    return True
"""


def run(code: str, limit: float = 60.0, limit_call: float = 30.0, **options: Any) -> CheckReport:
    command = (sys.executable, "-c", CHILD + textwrap.dedent(code))
    return run_checks("fake", limit, limit_call, command=command, **options)


def verdicts(report: CheckReport) -> dict[str, str | None]:
    return {result.kernel: result.failure for result in report.results}


def test_the_results_of_a_child_are_returned() -> None:
    report = run("begin('a', 'b'); check('a'); check('b', 'wrong', 7.0)")
    assert report.results == [KernelCheck("a", "float32", 3, 0.5, 0.1), KernelCheck("b", "float32", 3, 7.0, 0.1, "wrong")]
    assert (report.device, report.reason, report.unchecked) == ("0", None, [])
    assert report.failures == {"b": "float32: wrong"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_kernel_that_crashes_has_failed_and_the_others_are_checked_in_a_new_process() -> None:
    code = "begin('a', 'b', 'c'); check('a')\nif start('b'): os.kill(os.getpid(), signal.SIGSEGV)\ncheck('c')"
    assert verdicts(run(code)) == {"a": None, "b": "its process was killed by SIGSEGV", "c": None}


def test_the_last_line_on_standard_error_explains_an_exit() -> None:
    code = "begin('a', 'b')\nif start('a'): sys.exit('CUDA_ERROR_ILLEGAL_ADDRESS')\ncheck('b')"
    assert verdicts(run(code)) == {"a": "its process ended with exit code 1 (CUDA_ERROR_ILLEGAL_ADDRESS)", "b": None}


def test_a_child_that_ends_after_a_failure_is_replaced() -> None:
    code = "begin('a', 'b'); first = ('a', 'float32') not in skip; check('a', 'RuntimeError: x', None)\nif not first: check('b')"
    assert verdicts(run(code)) == {"a": "RuntimeError: x", "b": None}


def test_a_kernel_that_hangs_has_failed_and_its_process_is_ended(tmp_path: Path) -> None:
    code = f"begin('a', 'b')\nif start('a'): open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)\ncheck('b')"
    assert verdicts(run(code, limit_call=1.0)) == {"a": "a call did not end within 1 s", "b": None}
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text(encoding="utf-8")), signal.SIG_DFL)


def test_a_kernel_with_many_slow_calls_does_not_hang() -> None:
    code = "begin('a'); start('a')\nfor i in range(4): time.sleep(0.8); say('call', i)\ncheck('a')"
    assert verdicts(run(code, limit_call=2.5)) == {"a": None}


def test_what_is_not_checked_in_time_is_unchecked_and_has_not_failed() -> None:
    begin = time.monotonic()
    report = run("begin('a', 'b', 'c'); check('a'); start('b'); time.sleep(600)", limit=2.0)
    assert time.monotonic() - begin < 60
    assert verdicts(report) == {"a": None}
    assert report.unchecked == [("b", "float32"), ("c", "float32")]


def test_skipped_checks_are_not_run() -> None:
    report = run("begin('a', 'b'); check('a'); check('b')", skip=[("a", "float32")])
    assert verdicts(report) == {"b": None}


def test_a_backend_that_cannot_run_is_reported_with_reason_and_hint() -> None:
    report = run("say('unavailable', {'reason': 'there is no GPU', 'hint': 'buy one'})")
    assert (report.device, report.reason, report.hint, report.results) == (None, "there is no GPU", "buy one", [])


def test_a_child_that_does_not_start_is_reported_once() -> None:
    report = run("sys.exit('no module named x')")
    assert report.reason == "the process that checks the kernels ended with exit code 1 (no module named x)"
    assert (report.device, report.results) == (None, [])
    assert run("time.sleep(600)", limit=0.5).reason == "the process that checks the kernels did not start in time"


def test_other_output_of_a_child_is_ignored() -> None:
    report = run("print('hello'); print('[1, 2]'); print('3'); begin('a'); check('a')")
    assert verdicts(report) == {"a": None}


def test_children_do_not_check_on_first_use_and_import_what_this_process_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "only_here.py").write_text("NAME = 'found'", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    report = run("import only_here; begin(os.environ['TINYTORCH_SELF_CHECK'], only_here.NAME)\nfor name in ('off', 'found'): check(name)")
    assert verdicts(report) == {"off": None, "found": None}


def test_the_kernels_of_numpy_pass_in_a_child() -> None:
    report = run_checks("numpy", limit=300, limit_call=100)
    assert (report.device, report.failures, report.unchecked, report.reason) == ("cpu", {}, [], None)
    assert {"matmul", "attention", "adam"} <= {result.kernel for result in report.results}
