"""Compare tinytorch with three modes of PyTorch, in turns: one process runs while the other waits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu.device import gpu
from benchmarks.gpu.torch_modes import PEERS
from benchmarks.gpu.workloads import NotEnoughMemoryError, Workload, workload

ROUNDS = 5


class Contestant:
    """A running worker process."""

    def __init__(self, name: str, work: Workload, weights: Path, tiny: bool) -> None:
        command = [sys.executable, "-m", "benchmarks.gpu.worker", name, json.dumps(asdict(work)), str(weights), "cpu" if tiny else "gpu"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, steps: int) -> tuple[float, list[float]]:
        """Run ``steps`` steps; returns seconds, and the losses or tokens. Raises ``RuntimeError`` if they fail."""
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
        if "failed" in found:
            raise RuntimeError(found["failed"])
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
    try:
        work = workload(name, None if tiny else gpu())
    except NotEnoughMemoryError as error:
        yield {"workload": name, "skipped": str(error)}
        return
    except RuntimeError as error:
        yield {"workload": name, "peer": "all", "refused": str(error)}
        return
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "weights.safetensors"
        subprocess.run([sys.executable, "-m", "benchmarks.gpu.ours", json.dumps(asdict(work)), str(weights)], check=True)
        ours = Contestant("ours", work, weights, tiny)
        try:
            _, first = ours.turn(work.turn)
            for peer, aim in zip(PEERS[:1] if tiny else PEERS, work.at_most, strict=False):
                row: dict[str, Any] = {"workload": name, "what": work.what, "precision": work.precision, "batch": work.batch}
                yield {**row, "peer": peer, "at_most": aim, **_measured(work, ours, first, peer, weights, tiny)}
        except RuntimeError as error:
            yield {"workload": name, "peer": "all", "refused": f"ours: {error}"}
        finally:
            ours.stop()


def _measured(work: Workload, ours: Contestant, first: list[float], peer: str, weights: Path, tiny: bool) -> dict[str, Any]:
    """Measure turns of tinytorch and one peer, after a warm-up turn of the peer."""
    theirs = Contestant(peer, work, weights, tiny)
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
