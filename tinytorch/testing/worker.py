"""A process that checks the kernels of one backend and prints the results: ``python -m tinytorch.testing.worker``, with a JSON request.

Standard output has one JSON object per line: first what will be checked, then one object at the start and one at the end of each check, and
one after each call. If the process ends in between, its parent knows which kernel ended it. After an exception the process ends, because
CUDA fails for the rest of a process in which a kernel accessed an illegal address.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any, TextIO

from tinytorch.backend import BackendUnavailableError, get_backend
from tinytorch.backend.tuning import tune
from tinytorch.testing.kernel_check import MATMUL, check_kernel, checks_of
from tinytorch.testing.matmul_check import check_matmul


def run(spec: str, skip: list[tuple[str, str]], out: TextIO) -> None:
    """Check everything that is not in ``skip``, and report to ``out``."""

    def report(event: str, value: Any) -> None:
        print(json.dumps({event: value}), file=out, flush=True)

    def progress(calls: int) -> None:
        report("call", calls)

    try:
        backend = get_backend(spec)
    except BackendUnavailableError as error:
        report("unavailable", {"reason": error.reason, "hint": error.hint})
        return
    tune(backend)  # installs optional kernels
    checks = checks_of(backend)
    report("ready", {"device": backend.device, "key": backend.self_check_key(), "checks": checks})
    for name, dtype in checks:
        if (name, dtype) in skip:
            continue
        report("start", [name, dtype])
        try:
            result = check_matmul(backend, dtype, progress) if name == MATMUL else check_kernel(backend, name, dtype, progress)
        except MemoryError:  # says nothing about the kernel
            hint = "end other programs that use the device, and check again"
            report("unavailable", {"reason": "the device has not enough free memory for the check", "hint": hint})
            return
        report("result", asdict(result))
        if result.failure is not None and result.error is None:
            return


def main() -> None:
    """Read the request, an object with the keys ``spec`` and ``skip``, from the first argument."""
    request = json.loads(sys.argv[1])
    # libraries may print to standard output, so what they print goes to standard error
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    run(request["spec"], [(name, dtype) for name, dtype in request["skip"]], out)


if __name__ == "__main__":
    main()
