"""``tinytorch backends --check``: check the kernels of the backends, and print the results."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinytorch.backend import BackendUnavailableError, UnknownBackendError
from tinytorch.backend.registry import known_backends
from tinytorch.testing import CheckReport, KernelCheck, run_checks
from tinytorch.testing.first_use import store

if TYPE_CHECKING:
    from rich.table import Table

#: Seconds for all kernels of a backend, and for one call of a kernel, including compilation.
LIMIT, LIMIT_CALL = 600.0, 60.0


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
        report = run_checks(spec, LIMIT, LIMIT_CALL)
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

    found = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading in ("backend", "kernel", "data types", "calls", "verdict", "error", "time"):
        found.add_column(heading, justify="right" if heading in ("calls", "error", "time") else "left", no_wrap=heading != "data types")
    for report in reports:
        for kernel, results in _by_kernel(report):
            compared = [result for result in results if result.calls or result.failure]
            errors = [result.error for result in compared if result.error is not None and result.calls]
            failed = any(result.failure for result in compared)
            found.add_row(
                _spec(report),
                kernel,
                ", ".join(result.dtype for result in compared),
                str(sum(result.calls for result in compared)),
                Text("FAILED", "red") if failed else Text("passed", "green"),
                f"{max(errors):.2g}" if errors and not any(result.error is None for result in compared) else "-",
                f"{sum(result.seconds for result in results):.1f} s",
            )
    return found


def remarks(reports: list[CheckReport]) -> list[str]:
    """Why kernels failed, and what was not checked, a line for each."""
    lines = []
    for report in reports:
        lines += [f"{_spec(report)}: {name} failed in {reason}" for name, reason in report.failures.items()]
        if report.reason is not None:
            lines.append(f"{_spec(report)}: not checked: {report.reason}; {report.hint}")
        elif report.unchecked:
            left = ", ".join(f"{name} in {dtype}" for name, dtype in report.unchecked)
            lines.append(f"{_spec(report)}: not checked, for lack of time: {left}")
        elif not report.results:
            lines.append(f"{_spec(report)}: it has no kernels")
    return lines


def _by_kernel(report: CheckReport) -> list[tuple[str, list[KernelCheck]]]:
    names = dict.fromkeys(result.kernel for result in report.results)
    return [(name, [result for result in report.results if result.kernel == name]) for name in sorted(names)]


def _spec(report: CheckReport) -> str:
    return report.spec if report.device is None else f"{report.spec.partition(':')[0]}:{report.device}"
