"""``tinytorch backends --check``: check the kernels of the backends, and print the results."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from tinytorch.backend import BackendUnavailableError, UnknownBackendError
from tinytorch.backend.registry import known_backends
from tinytorch.testing import CheckReport, KernelCheck, run_checks
from tinytorch.testing.first_use import store

if TYPE_CHECKING:
    from rich.table import Table

#: Seconds for all kernels of a backend, and for one kernel in one dtype, including compilation.
LIMIT, LIMIT_EACH = 600.0, 60.0

_FAILED: Final = "FAILED"


def check_backends(specs: list[str]) -> list[CheckReport]:
    """Check the kernels of these backends, by default of all backends, and cache what is known about the devices.

    Raises:
        BackendError: one of ``specs`` is unknown or cannot run here.
    """
    for spec in specs:
        if spec.partition(":")[0] not in known_backends():
            raise UnknownBackendError(f"unknown backend {spec!r}; expected one of {', '.join(known_backends())}")
    reports = []
    for spec in specs or known_backends():
        print(f"checking {spec} ...", file=sys.stderr, flush=True)
        report = run_checks(spec, LIMIT, LIMIT_EACH)
        if report.device is None and specs:
            raise BackendUnavailableError(spec, str(report.reason), str(report.hint))
        store(report)
        reports.append(report)
    return reports


def as_objects(reports: list[CheckReport]) -> list[dict[str, Any]]:
    """An object for each backend, with the keys of `tinytorch.cli.backends.KEYS` and its ``checks``."""
    return [
        {
            "name": report.spec.partition(":")[0],
            "ready": report.device is not None,
            "device": report.device,
            "reason": report.reason,
            "hint": report.hint,
            "checks": [asdict(result) for result in report.results],
        }
        for report in reports
    ]


def is_failure(report: CheckReport) -> bool:
    """Whether a kernel failed, or the check of a backend that can run was not completed."""
    return bool(report.failures) or (report.device is not None and (report.reason is not None or bool(report.unchecked)))


def table(reports: list[CheckReport]) -> Table:
    """One row per kernel: dtypes and calls that were compared, the verdict, the largest error, and the time."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for heading in ("backend", "kernel", "data types", "calls", "verdict", "error", "seconds"):
        found.add_column(heading, justify="right" if heading in ("calls", "error", "seconds") else "left")
    for report in reports:
        spec = report.spec.partition(":")[0] + (f":{report.device}" if report.device is not None else "")
        # sorted, so that the results of a kernel in several dtypes are adjacent
        for kernel, results in groupby(sorted(report.results, key=lambda result: result.kernel), key=lambda result: result.kernel):
            *cells, verdict = _row(list(results))
            found.add_row(spec, kernel, *cells[:2], Text(verdict, "red" if verdict.startswith(_FAILED) else "green"), *cells[2:])
        for reason in _remarks(report):
            found.add_row(spec, "-", "-", "-", Text(reason))
    return found


def _row(results: list[KernelCheck]) -> tuple[str, str, str, str, str]:
    """Dtypes, calls, largest error, seconds and verdict of one kernel."""
    compared = [result for result in results if result.calls or result.failure]
    failures = [f"{result.dtype}: {result.failure}" for result in compared if result.failure is not None]
    errors = [result.error for result in compared if result.error is not None]
    return (
        ", ".join(result.dtype for result in compared),
        str(sum(result.calls for result in compared)),
        f"{max(errors):.2g}" if errors else "-",
        f"{sum(result.seconds for result in results):.1f}",
        f"{_FAILED} ({'; '.join(failures)})" if failures else "passed",
    )


def _remarks(report: CheckReport) -> list[str]:
    """What was not checked, and why."""
    if report.reason is not None:
        return [f"{report.reason}; {report.hint}"]
    if report.unchecked:
        return [f"not checked, for lack of time: {', '.join(f'{name} in {dtype}' for name, dtype in report.unchecked)}"]
    return [] if report.results else ["it has no kernels"]
