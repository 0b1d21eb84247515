"""``python -m benchmarks cpu`` or ``gpu``: compare with peers; ``profile``: time per kernel; ``scaling``: time by model size."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.cpu.contest import Row, as_json, compare
from benchmarks.cpu.worker import CONTESTANTS
from benchmarks.cpu.workloads import WORKLOADS
from benchmarks.scaling import measure_all


def machine() -> str:
    """The CPU, Python, and the versions of the libraries."""
    facts = {}
    if Path("/proc/cpuinfo").is_file():
        pairs = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if ":" in line]
        facts = {name.strip(): value.strip() for name, value in pairs}
    cpu = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts:
        cpu += f" (family {facts['cpu family']}, model {facts.get('model')})"
    found = []
    for name in ("numpy", "torch", "jax"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(found)}"


def line(row: Row) -> str:
    """Format a row of the table."""
    if row.refused:
        return f"{row.workload:<5} {row.peer:<14} refused: {row.refused}"
    share = "" if row.peak_share is None else f"{100 * row.peak_share:4.0f}%"
    times = f"{row.ratio:5.2f} ({row.lowest:.2f} to {row.highest:.2f}) {row.ours_ms:10.2f} {row.peer_ms:10.2f}"
    memory = f"{row.ours_megabytes:8.0f} {row.peer_megabytes:8.0f} {row.ours_megabytes / row.peer_megabytes:6.2f}"
    return f"{row.workload:<5} {row.peer:<14} {times} {share:>6} {memory}"


def main() -> None:
    """Parse the arguments, run the benchmark, and print each row when it is measured."""
    if sys.argv[1:2] == ["gpu"]:
        from benchmarks.gpu.command import main as gpu_main  # it has its own options

        sys.exit(gpu_main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", choices=["cpu", "gpu", "profile", "scaling"])
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="comma-separated")
    parser.add_argument("--peers", default="torch", help=f"comma-separated, from {', '.join(CONTESTANTS[1:])}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.part == "scaling":
        print(machine() + "\n")
        points = measure_all()
        if options.json:
            options.json.write_text(
                json.dumps({"machine": machine(), "points": [asdict(point) for point in points]}, indent=1) + "\n", encoding="utf-8"
            )
        return
    names, peers = options.workloads.split(","), options.peers.split(",")
    unknown = [word for word in names if word not in WORKLOADS] + [word for word in peers if word not in CONTESTANTS[1:]]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(WORKLOADS)} and {', '.join(CONTESTANTS[1:])}")
    print(machine())
    if options.part == "profile":
        from benchmarks.cpu.profile import profile  # runs in this process

        for name in names:
            print(profile(name), flush=True)
        return
    for name in names:
        print(f"{name:<5} {WORKLOADS[name].what}")
    heads = f"{'ratio (range)':<21} {'ours ms':>10} {'peer ms':>10} {'sgemm':>6} {'ours MB':>8} {'peer MB':>8} {'ratio':>6}"
    print(f"\n{'':<5} {'peer':<14} {heads}")
    rows = []
    for name in names:
        for peer in peers:
            rows.append(compare(name, peer, options.rounds))
            print(line(rows[-1]), flush=True)
            if options.json:
                options.json.write_text(as_json(rows, machine(), options.rounds), encoding="utf-8")
    sys.exit(1 if any(row.refused for row in rows) else 0)


if __name__ == "__main__":
    main()
