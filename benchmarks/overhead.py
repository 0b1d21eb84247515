"""Overhead of a small operation on Tensors, compared with numpy: ``python -m benchmarks.overhead``.

Adds two arrays of 10 elements, in numpy and as Tensors with and without a gradient, in turns in one process. Prints microseconds per
addition, as median and range over the turns, and the overhead over numpy.
"""

from __future__ import annotations

import argparse
import json
import platform
import timeit
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy

import tinytorch as tt

#: Largest acceptable overhead of an addition over numpy, in microseconds.
TARGETS = {"without a gradient": 1.0, "with a gradient": 2.5}


def contestants() -> dict[str, Callable[[], Any]]:
    """The additions, by name."""
    a, b = numpy.arange(10.0), numpy.ones(10)
    x, y = tt.asarray(a), tt.asarray(b)
    u, v = tt.asarray(a), tt.asarray(b)
    u.requires_grad = True
    return {"numpy": lambda: a + b, "without a gradient": lambda: x + y, "with a gradient": lambda: u + v}


def measure(turns: int, count: int) -> dict[str, list[float]]:
    """Microseconds per addition for each contestant and turn."""
    timers = {name: timeit.Timer(add) for name, add in contestants().items()}
    for timer in timers.values():
        timer.timeit(count)  # warm-up
    times: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(turns):
        for name, timer in timers.items():
            times[name].append(timer.timeit(count) / count * 1e6)
    return times


def main() -> None:
    """Measure, and print a row for each contestant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--count", type=int, default=20_000, help="additions per turn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tt.use_backend("numpy"):
        times = measure(options.turns, options.count)
    print(f"numpy {numpy.__version__}, Python {platform.python_version()}, {options.turns} turns of {options.count:,} additions")
    rows = []
    for name, own in times.items():
        extra = median(a - b for a, b in zip(own, times["numpy"], strict=True))
        rows.append({"addition": name, "microseconds": median(own), "lowest": min(own), "highest": max(own), "extra": extra})
        on_top = f"   {extra:+.2f} (target: at most {TARGETS[name]:+.1f})" if name in TARGETS else ""
        print(f"{name:>20}  {median(own):.2f} us ({min(own):.2f} to {max(own):.2f}){on_top}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
