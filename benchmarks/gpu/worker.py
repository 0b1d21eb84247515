"""The process of one contestant. After the setup, it runs a turn for each line of its input and prints a line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu.workloads import Workload


def contestant(name: str, work: Workload, weights: Path, on_cpu: bool) -> Callable[[int], list[float]]:
    """Create a contestant; imports only its library."""
    if name == "ours":
        from benchmarks.gpu import ours

        return ours.contestant(work, weights, "numpy" if on_cpu else "cupy")
    from benchmarks.gpu import torch_peer

    return torch_peer.contestant(work, weights, name, "cpu" if on_cpu else "cuda")


def main() -> None:
    """Arguments: ``NAME WORKLOAD WEIGHTS cpu|gpu``. Each line of the input is a number of steps."""
    try:
        run = contestant(sys.argv[1], Workload(**json.loads(sys.argv[2])), Path(sys.argv[3]), sys.argv[4] == "cpu")
        for line in sys.stdin:
            start = time.perf_counter()
            found = run(int(line))
            seconds = time.perf_counter() - start
            print(json.dumps({"seconds": seconds, "found": found}), flush=True)
    except Exception as error:  # such as a lack of memory: the reason belongs into the results
        print(json.dumps({"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}), flush=True)
        raise


if __name__ == "__main__":
    main()
