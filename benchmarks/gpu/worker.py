"""The process of one contestant. After the setup, it runs a turn for each line of its input and prints a line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu.workloads import Workload, workload


def contestant(name: str, work: Workload, weights: Path, tiny: bool) -> Callable[[int], list[float]]:
    """Create a contestant; imports only its library. Tiny workloads run on the CPU."""
    if name == "ours":
        from benchmarks.gpu import ours

        return ours.contestant(work, weights, "numpy" if tiny else "cupy")
    from benchmarks.gpu import torch_peer

    return torch_peer.contestant(work, weights, name, "cpu" if tiny else "cuda")


def main() -> None:
    """Arguments: ``NAME WORKLOAD WEIGHTS SIZE``. Each line of the input is a number of steps."""
    tiny = sys.argv[4] == "tiny"
    work = workload(sys.argv[2], tiny)
    run = contestant(sys.argv[1], work, Path(sys.argv[3]), tiny)
    for line in sys.stdin:
        start = time.perf_counter()
        found = run(int(line))
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "found": found}), flush=True)


if __name__ == "__main__":
    main()
