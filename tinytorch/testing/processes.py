"""Check the kernels of a backend in child processes, because a kernel may crash its process or never return."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any, Final

from tinytorch.testing.kernel_check import KernelCheck

#: Set to ``off``, it disables the check of kernels on the first use of a device. It is off in the child processes.
ENVIRONMENT_VARIABLE: Final = "TINYTORCH_SELF_CHECK"

Check = tuple[str, str]  #: name of a kernel, and dtype


@dataclass
class CheckReport:
    """The results of `run_checks`.

    Attributes:
        spec: the backend, as requested.
        device: its device; ``None`` if the backend cannot run.
        key: what the results depend on; see `Backend.self_check_key`.
        results: the results, in the order of the checks.
        unchecked: kernels and dtypes that were not checked, for lack of time.
        reason: why nothing could be checked; ``None`` otherwise.
        hint: how to fix that.

    Example:
        >>> report = tt.testing.CheckReport("numpy", results=[tt.testing.KernelCheck("relu", "float32", 6, None, 0.1, "NaN or infinity")])
        >>> report.failures
        {'relu': 'float32: NaN or infinity'}
    """

    spec: str
    device: str | None = None
    key: dict[str, str] | None = None
    results: list[KernelCheck] = field(default_factory=list)
    unchecked: list[Check] = field(default_factory=list)
    reason: str | None = None
    hint: str | None = None

    @property
    def failures(self) -> dict[str, str]:
        """The reason of the first failure of each kernel that failed, by name."""
        failed: dict[str, str] = {}
        for result in self.results:
            if result.failure is not None:
                failed.setdefault(result.kernel, f"{result.dtype}: {result.failure}")
        return failed


def run_checks(
    spec: str,
    limit: float,
    limit_call: float,
    skip: Collection[Check] = (),
    command: Sequence[str] = (sys.executable, "-P", "-m", "tinytorch.testing.worker"),
) -> CheckReport:
    """Check the kernels and the matmul of a backend in child processes, in every dtype that it supports.

    Args:
        spec: name of the backend, with or without a device; the children must know it too, so it is not one of `register_backend`.
        limit: time limit in seconds. What is not checked by then is reported as unchecked.
        limit_call: time limit for one call of a kernel, including its compilation; a kernel that exceeds it has failed.
        skip: checks that are already done.
        command: the command of a child.

    Returns:
        The report. A kernel whose process ends has failed; the others are then checked in a new process.

    Example:
        >>> tt.testing.run_checks("strict", limit=60, limit_call=10).results  # it has no kernels
        []
    """
    report, deadline = CheckReport(spec), time.monotonic() + limit
    done = set(skip)
    while time.monotonic() < deadline:
        with _child(command, spec, done) as child:
            finished = _follow(child, report, done, deadline, limit_call)
        if finished:
            break
    return report


def _follow(child: _Child, report: CheckReport, done: set[Check], deadline: float, limit_call: float) -> bool:
    """Read what a child reports until it ends or must end; returns whether there is nothing left to check."""
    running: Check | None = None
    started = called = time.monotonic()  # when the check and its last call began
    progressed = False

    def fail(reason: str) -> None:
        assert running is not None
        report.results.append(KernelCheck(*running, calls=0, error=None, seconds=time.monotonic() - started, failure=reason))
        report.unchecked.remove(running)
        done.add(running)

    while True:
        end = deadline if running is None else min(deadline, called + limit_call)
        try:
            event, value = child.next_event(max(0.0, end - time.monotonic()))
        except TimeoutError:
            if running is not None and time.monotonic() >= called + limit_call:
                fail(f"a call did not end within {limit_call:.0f} s")
                return not report.unchecked
            if report.device is None:
                report.reason, report.hint = "the process that checks the kernels did not start in time", "try again"
            return True
        if event == "unavailable":
            report.reason, report.hint = value["reason"], value["hint"]
            return True
        if event == "ready":
            report.device, report.key = value["device"], value["key"]
            report.unchecked = [(name, dtype) for name, dtype in value["checks"] if (name, dtype) not in done]
        elif event == "start":
            running = value[0], value[1]
            started = called = time.monotonic()
        elif event == "call":
            called = time.monotonic()
        elif event == "result":
            assert running is not None
            report.results.append(KernelCheck(**value))
            report.unchecked.remove(running)
            done.add(running)
            running, progressed = None, True
        else:  # the child has ended
            if running is not None:
                fail(f"its process {value}")
            elif not progressed and (report.device is None or report.unchecked):
                report.reason, report.hint = f"the process that checks the kernels {value}", "check again"
                return True
            return not report.unchecked


class _Child:
    """A child process, and the events that it reports."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError, AttributeError):  # an incomplete line of a process that was killed
                ((event, value),) = json.loads(line).items()
                self._events.put((event, value))
        self._events.put(("end", None))

    def next_event(self, timeout: float) -> tuple[str, Any]:
        """The next event and its value; ``("end", how)`` after the end of the process. Raises ``TimeoutError``."""
        try:
            event, value = self._events.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        return (event, self._ending()) if event == "end" else (event, value)

    def kill(self) -> None:
        """Kill the process, if it still runs, and wait until it has ended."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # a process that waits for a driver may not end at once
            self._process.wait(timeout=5)
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _ending(self) -> str:
        """How the process ended, as a clause without a subject."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]
        if code < 0:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}" + (f" ({last})" if last else "")


@contextmanager
def _child(command: Sequence[str], spec: str, skip: Collection[Check]) -> Iterator[_Child]:
    """A child process, killed at the end of the block if it still runs."""
    request = json.dumps({"spec": spec, "skip": sorted(skip)})
    # the child imports what this process would import, and does not start children itself
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": path, ENVIRONMENT_VARIABLE: "off"}
    with tempfile.TemporaryFile() as errors:
        child = _Child(
            subprocess.Popen(
                [*command, request],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C would end the child as if its kernel had crashed; this process ends it instead
            ),
            errors,
        )
        try:
            yield child
        finally:
            child.kill()
