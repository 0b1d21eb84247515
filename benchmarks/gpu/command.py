"""``python -m benchmarks gpu``: tests, benchmarks and checks on a GPU, in parts. Every row is written to the file immediately.

Requires cupy, numpy, PyTorch for the comparisons, the core dependencies, and for the tests pytest, hypothesis, array-api-strict and
ml_dtypes. On a machine without network access, pass a directory of their wheels with ``--wheels``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.gpu.machine import HERE, machine
from benchmarks.gpu.parts import PARTS, Row

#: Time limit of a part, in seconds.
LIMIT = 530


def main(arguments: list[str]) -> int:
    """Run the selected parts; the exit code is 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--only", action="append", metavar="PART", help=f"may be repeated; one of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="file for results; parts in it that are not run again are kept")
    parser.add_argument("--text", type=Path, help="Tiny Shakespeare, for the parts that train on it")
    parser.add_argument("--wheels", type=Path, help="a directory of wheels, which are unpacked and imported")
    parser.add_argument("--rehearse", action="store_true", help="run every part at tiny sizes on the CPU as a test; measures nothing")
    options = parser.parse_args(arguments)
    selected = options.only or list(PARTS)
    unknown = [name for name in selected if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    if options.text is not None and not options.text.is_file():
        parser.error(f"{options.text} is not a file")
    with tempfile.TemporaryDirectory() as unpacked:
        for wheel in [] if options.wheels is None else sorted(options.wheels.glob("*.whl")):
            zipfile.ZipFile(wheel).extractall(unpacked)
        return _run(selected, options, unpacked)


def _run(selected: list[str], options: argparse.Namespace, unpacked: str) -> int:
    results = Results(options.json, options.rehearse)
    print(json.dumps(results.machine, indent=1), flush=True)
    ended = [run_part(name, options, results, unpacked) for name in selected]
    return 0 if all(ended) else 1


class Results:
    """The results, in a file if ``path`` is given. The file is rewritten after every row."""

    def __init__(self, path: Path | None, rehearsal: bool) -> None:
        self._path = path
        self.machine = {**machine(), **({"rehearsal": True} if rehearsal else {})}
        known = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
        self._parts: dict[str, Any] = known.get("parts", {})

    def begin(self, part: str) -> None:
        """Delete the rows of a part. Each part stores its machine, because parts may be run on different days."""
        self._parts[part] = {"machine": self.machine, "ended": "no", "rows": []}
        self._write()

    def add(self, part: str, row: Row) -> None:
        """Add a row to a part."""
        self._parts[part]["rows"].append(row)
        self._write()

    def end(self, part: str, how: str, seconds: float) -> None:
        """Store how a part ended."""
        self._parts[part].update(ended=how, seconds=round(seconds, 1))
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        waiting = self._path.with_suffix(".new")
        waiting.write_text(json.dumps({"parts": self._parts}, indent=1) + "\n", encoding="utf-8")
        waiting.replace(self._path)


def run_part(name: str, options: argparse.Namespace, results: Results, packages: str) -> bool:
    """Run a part in a new process, and kill it with its child processes at the time limit."""
    print(f"\n== {name}", flush=True)
    results.begin(name)
    command = [sys.executable, "-m", "benchmarks.gpu.parts", name]
    command += ["--rehearse"] if options.rehearse else []
    command += [] if options.text is None else ["--text", str(options.text.absolute())]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=HERE, env=_environment(packages), stdout=subprocess.PIPE, text=True, start_new_session=True)
    late = threading.Event()

    def stop() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(LIMIT, stop)
    timer.start()
    assert process.stdout is not None
    good = True
    try:
        for line in process.stdout:
            row = json.loads(line)
            good = good and "refused" not in row and "failed" not in row
            results.add(name, row)
            print(shown(row), flush=True)
        code = process.wait()
    finally:
        timer.cancel()
        process.stdout.close()
    how = f"its {LIMIT} seconds were up" if late.is_set() else "well" if code == 0 else f"with exit code {code}"
    results.end(name, how, time.perf_counter() - start)
    if how != "well":
        print(f"   ended: {how}", flush=True)
    return good and how == "well"


def _environment(packages: str) -> dict[str, str]:
    """Environment of a part: it imports from this checkout, then from the unpacked wheels, then from the usual paths."""
    before = filter(None, [os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "backends"), packages, *before])}


def shown(row: Row) -> str:
    """Format a row for printing, without lists, which are only in the file."""
    facts = {name: value for name, value in row.items() if not isinstance(value, dict | list)}
    return "   " + ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items())
