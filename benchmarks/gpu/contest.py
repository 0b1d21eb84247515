"""Compare tinytorch with three modes of PyTorch, in turns: one process runs while the other waits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu.torch_modes import PEERS
from benchmarks.gpu.workloads import Workload, workload

ROUNDS = 5


class Contestant:
    """A running worker process."""

    def __init__(self, name: str, work: str, weights: Path, tiny: bool) -> None:
        command = [sys.executable, "-m", "benchmarks.gpu.worker", name, work, str(weights), "tiny" if tiny else "full"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, steps: int) -> tuple[float, list[float]]:
        """Run ``steps`` steps; returns seconds, and the losses or tokens. Raises ``RuntimeError`` if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError("its process has ended, see above")
        found = json.loads(answer)
        return found["seconds"], found["found"]

    def stop(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def compare(name: str, tiny: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each mode of PyTorch as soon as it is measured."""
    work = workload(name, tiny)
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights.safetensors"
        size = "tiny" if tiny else "full"
        subprocess.run([sys.executable, "-m", "benchmarks.gpu.ours", name, str(weights), size], check=True)
        ours = Contestant("ours", name, weights, tiny)
        try:
            _, first = ours.turn(work.turn)
            for peer, aim in zip(PEERS[:1] if tiny else PEERS, work.at_most, strict=False):
                row: dict[str, Any] = {"workload": name, "what": work.what, "precision": work.precision, "peer": peer, "at_most": aim}
                yield row | _measured(work, ours, first, name, peer, weights, tiny)
        except RuntimeError as error:
            yield {"workload": name, "peer": "all", "refused": f"ours: {error}"}
        finally:
            ours.stop()


def _measured(work: Workload, ours: Contestant, first: list[float], name: str, peer: str, weights: Path, tiny: bool) -> dict[str, Any]:
    """Measure turns of tinytorch and one peer, after a warm-up turn of the peer."""
    theirs = Contestant(peer, name, weights, tiny)
    try:
        _, losses = theirs.turn(work.turn)
        agree = _agreement(work, first, losses)
        times = [(ours.turn(work.turn)[0], theirs.turn(work.turn)[0]) for _ in range(1 if tiny else ROUNDS)]
    except RuntimeError as error:
        return {"refused": str(error)}
    finally:
        theirs.stop()
    ratios = [a / b for a, b in times]
    milliseconds = [median(side) / work.turn * 1e3 for side in zip(*times, strict=True)]
    row = {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios), "ours_ms": milliseconds[0], "peer_ms": milliseconds[1]}
    if work.kind == "train":
        row["ours_tflops"] = work.flops_a_token * work.batch * work.context / (milliseconds[0] * 1e9)
    return row | agree


def _agreement(work: Workload, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """How well the results agree: the first losses, or the number of equal tokens before the first difference."""
    if work.kind == "decode":
        same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours))
        return {"same_tokens": same, "tokens": len(ours)}
    return {"first_loss_ours": ours[0], "first_loss_peer": theirs[0]}
