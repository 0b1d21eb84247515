"""Run the contestants in turns, each in its own process, and return the measurements as rows."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.cpu.workloads import WORKLOADS, Workload


@dataclass(frozen=True)
class Row:
    """tinytorch and one peer on one workload. Times are milliseconds per step or token; memory is the peak of each process."""

    workload: str
    peer: str
    ratio: float
    lowest: float
    highest: float
    ours_ms: float
    peer_ms: float
    ours_megabytes: float
    peer_megabytes: float
    peak_share: float | None  #: tinytorch's fraction of sgemm's peak, if operations are counted
    refused: str = ""  #: why there is no measurement


class Contestant:
    """A running worker process."""

    def __init__(self, name: str, workload: str, weights: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.cpu.worker", name, workload, str(weights)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.milliseconds: list[float] = []
        self.peak = 0.0

    def turn(self, steps: int, counted: bool = True) -> list[float]:
        """Run ``steps`` steps; returns the losses or tokens. Raises ``RuntimeError`` if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError("its process has ended, see above")
        answer = json.loads(line)
        if counted:
            self.milliseconds.append(answer["seconds"] / steps * 1e3)
        self.peak = answer["peak"]
        return list(answer["found"])

    def stop(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def sgemm_gflops() -> float:
    """GFLOP/s of the fastest of several square matmuls, in a new process with the same settings as tinytorch's."""
    code = """
import time, numpy, tinytorch
tinytorch.tune()
a = numpy.random.default_rng(0).random((1536, 1536), dtype="float32")
times = []
for _ in range(12):
    start = time.perf_counter()
    a @ a
    times.append(time.perf_counter() - start)
print(2 * 1536**3 / min(times) / 1e9)
"""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def compare(name: str, peer: str, rounds: int) -> Row:
    """Measure tinytorch and one peer on one workload, in turns. The first turn of each is a warm-up."""
    workload = WORKLOADS[name]
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights.safetensors"
        command = [sys.executable, "-m", "benchmarks.cpu.ours", name, str(weights)]
        subprocess.run(command, check=True)
        both = [Contestant("ours", name, weights), Contestant(peer, name, weights)]
        try:
            firsts = [contestant.turn(workload.turn, counted=False) for contestant in both]
            refused = _disagreement(workload, *firsts)
            for _ in range(0 if refused else rounds):
                for contestant in both:
                    contestant.turn(workload.turn)
        except RuntimeError as error:
            refused = str(error)
        finally:
            for contestant in both:
                contestant.stop()
    if refused:
        return Row(name, peer, 0, 0, 0, 0, 0, 0, 0, None, refused)
    ours, theirs = both
    ratios = [a / b for a, b in zip(ours.milliseconds, theirs.milliseconds, strict=True)]
    share = None
    if workload.kind == "train" and workload.gpt is not None:
        flops = workload.gpt.flops_a_token * workload.batch * workload.gpt.context
        share = flops / (median(ours.milliseconds) * 1e6) / sgemm_gflops()
    times = (median(ours.milliseconds), median(theirs.milliseconds))
    return Row(name, peer, median(ratios), min(ratios), max(ratios), *times, ours.peak, theirs.peak, share)


def _disagreement(workload: Workload, ours: list[float], theirs: list[float]) -> str:
    """Why the results differ, in the first loss or in any token; an empty string if they agree."""
    if workload.kind == "decode":
        return "" if ours == theirs else "they generate different tokens"
    return "" if abs(ours[0] - theirs[0]) <= 1e-4 else f"losses at step 1 differ: {ours[0]:.6f} and {theirs[0]:.6f}"


def as_json(rows: list[Row], machine: str, rounds: int) -> str:
    """The rows as JSON, with machine and date."""
    measured = {"machine": machine, "date": time.strftime("%Y-%m-%d"), "rounds": rounds, "rows": [asdict(row) for row in rows]}
    return json.dumps(measured, indent=1) + "\n"
