"""The process of one contestant. After the setup, it runs a turn for each line of its input and prints a line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.cpu.workloads import WORKLOADS, Workload

CONTESTANTS = ("ours", "torch", "torch-compile", "jax")


def contestant(name: str, workload: Workload, weights: Path) -> Callable[[int], list[float]]:
    """Create a contestant; imports only its library."""
    if name == "ours":
        from benchmarks.cpu import ours

        return ours.contestant(workload, weights)
    if name == "jax":
        from benchmarks.cpu import jax_peer

        return jax_peer.contestant(workload, weights)
    from benchmarks.cpu import torch_peer

    return torch_peer.contestant(workload, weights, compiled=name == "torch-compile")


def peak_megabytes() -> float:
    """Peak memory of this process (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Arguments: ``NAME WORKLOAD WEIGHTS``. Each line of the input is a number of steps."""
    name, workload, weights = sys.argv[1], WORKLOADS[sys.argv[2]], Path(sys.argv[3])
    run = contestant(name, workload, weights)
    for line in sys.stdin:
        start = time.perf_counter()
        found = run(int(line))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "found": found, "peak": peak_megabytes()}), flush=True)


if __name__ == "__main__":
    main()
