"""Check the kernels of a backend on the first use of a device, and remove those that fail.

The verdict is cached for each device, version and source code of the kernels, in the user's cache directory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tinytorch.backend import Backend
from tinytorch.io.cache import cache_directory
from tinytorch.io.errors import InputError
from tinytorch.io.files import atomic_write_text
from tinytorch.io.locking import locked
from tinytorch.testing.kernel_check import KernelCheck, checks_of
from tinytorch.testing.processes import ENVIRONMENT_VARIABLE, CheckReport, run_checks

LIMIT: Final = 30.0  #: seconds for all kernels
LIMIT_CALL: Final = 15.0  #: seconds for one call of a kernel, including compilation

_FORMAT: Final = 1  # of the cached files
_log: Final = logging.getLogger("tinytorch")


def is_enabled() -> bool:
    """Whether kernels are checked on the first use of a device, which ``TINYTORCH_SELF_CHECK=off`` turns off.

    Raises `InputError` for values other than ``on`` and ``off``.
    """
    value = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if value.lower() not in ("", "on", "off"):
        raise InputError(f"{ENVIRONMENT_VARIABLE} must be 'on' or 'off', got {value!r}")
    return value.lower() != "off"


def remove_failed_kernels(backend: Backend) -> set[str]:
    """Remove the kernels of a backend that fail their check, with one warning; a plugin calls it for a backend that it has created.

    The check runs if there is no cached verdict for the backend's `Backend.self_check_key`. Kernels for which the time did not suffice are
    kept, and checked the next time.

    Returns:
        Names of the kernels that failed, and ``"matmul"`` if the backend's matmul failed.
    """
    key = backend.self_check_key()
    if key is None or not is_enabled():
        return set()
    report = _cached_or_new(backend, key)
    failures = report.failures
    if failures:
        backend.kernels = {name: kernel for name, kernel in backend.kernels.items() if name not in failures}
        _log.warning("%s", _message(backend, key, failures))
    return set(failures)


def store(report: CheckReport) -> None:
    """Cache the results of a check, if the backend's kernels are checked on first use, in place of earlier ones.

    Logs at level INFO if they cannot be written.
    """
    if report.key is None or not report.results:
        return
    content = {"format": _FORMAT, "key": report.key, "results": [asdict(result) for result in report.results]}
    try:
        path = _path(report.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        _log.info("the results of the kernels' check cannot be cached (%s), so it runs again next time", error)


def source_hash(paths: Iterable[Path]) -> str:
    """A hash of the contents of source files, for `Backend.self_check_key`."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _cached_or_new(backend: Backend, key: dict[str, str]) -> CheckReport:
    """The cached results, completed by a check of the kernels that they lack."""
    if _is_complete(backend, cached := _load(backend, key)):
        return cached
    with _only_process(key):
        # another process may have checked meanwhile
        if _is_complete(backend, cached := _load(backend, key)):
            return cached
        _print(f"checking the kernels of {backend.spec} (once per device and version, at most {LIMIT:.0f} s) ...", end="")
        start = time.monotonic()
        report = run_checks(backend.spec, LIMIT, LIMIT_CALL, [(result.kernel, result.dtype) for result in cached.results])
        report.results = [*cached.results, *report.results]
        report.key = key
        _print(f" {_summary(report)}, {time.monotonic() - start:.0f} s")
        store(report)
    return report


def _is_complete(backend: Backend, report: CheckReport) -> bool:
    """Whether each kernel was checked in each dtype, as far as the results tell."""
    return not set(checks_of(backend)) - {(result.kernel, result.dtype) for result in report.results}


def _summary(report: CheckReport) -> str:
    checked = {result.kernel for result in report.results}
    failed = len(report.failures)
    counts = f"{len(checked) - failed} passed" + (f", {failed} failed" if failed else "")
    if report.reason is not None:
        return f"{counts}, not complete: {report.reason} ({ENVIRONMENT_VARIABLE}=off turns the check off)"
    return counts + (f", {len(report.unchecked)} checks left for the next time" if report.unchecked else "")


def _message(backend: Backend, key: dict[str, str], failures: dict[str, str]) -> str:
    reasons = "; ".join(f"{name} ({reason})" for name, reason in failures.items())
    versions = ", ".join(f"{name} {value}" for name, value in key.items())
    return (
        f"kernels of {backend.spec} failed their self-check, so the portable versions run instead, which are slower: {reasons}. "
        f"Please report this message to the developers of tinytorch. {versions}. "
        "The verdict is kept for these versions; the command `tinytorch backends` can check again."
    )


def _path(key: dict[str, str]) -> Path:
    name = hashlib.sha256(json.dumps([_FORMAT, *sorted(key.items()), _cases_hash()]).encode()).hexdigest()[:24]
    return cache_directory() / "self_check" / f"{name}.json"


def _cases_hash() -> str:
    """A hash of the check itself: a new case may find more."""
    return source_hash(Path(__file__).with_name(f"{name}.py") for name in ("kernel_cases", "kernel_check", "matmul_check"))


def _load(backend: Backend, key: dict[str, str]) -> CheckReport:
    """The cached results; none if there is no file, or it is not valid."""
    report = CheckReport(backend.spec, backend.device, key)
    with suppress(OSError, ValueError, TypeError, KeyError):
        content: Any = json.loads(_path(key).read_text(encoding="utf-8"))
        report.results = [KernelCheck(**result) for result in content["results"]]
    return report


@contextmanager
def _only_process(key: dict[str, str]) -> Iterator[None]:
    """Let only one process check at a time, if the file system has locks; the others wait, at most as long as a check may take."""
    end = time.monotonic() + LIMIT + 10.0
    while True:
        with ExitStack() as stack:
            try:
                path = _path(key)
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(path.with_suffix(".lock"), path))
            except InputError:  # another process holds it
                if time.monotonic() < end:
                    time.sleep(0.1)
                    continue
            except OSError:  # the directory is not writable
                pass
            yield
            return


def _print(text: str, end: str = "\n") -> None:
    """Print progress on standard error, which may be closed."""
    with suppress(OSError, ValueError, AttributeError):
        print(text, end=end, file=sys.stderr, flush=True)
