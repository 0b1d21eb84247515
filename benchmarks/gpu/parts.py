"""The parts of ``python -m benchmarks gpu``, each a generator of rows that runs in its own process with a time limit."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.gpu.contest import compare
from benchmarks.gpu.device import gpu
from benchmarks.gpu.machine import HERE
from benchmarks.gpu.workloads import WORKLOADS

Row: TypeAlias = dict[str, Any]

#: Target validation loss on Tiny Shakespeare. nanoGPT's recipe reaches 1.4697.
TARGET_LOSS = 1.47


def checks(options: argparse.Namespace) -> Iterator[Row]:
    """Checks of cupy and of this plugin that need a GPU, each with its observation."""
    if options.rehearse:
        yield {"check": "all", "skipped": "they need a GPU"}
        return
    from benchmarks.gpu.checks import CHECKS

    for name, check in CHECKS.items():
        start = time.perf_counter()
        try:
            seen = check()
        except Exception as error:  # the error is the observation
            seen = f"raised {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        yield {"check": name, "what": " ".join((check.__doc__ or "").split()), "seen": seen, "seconds": time.perf_counter() - start}


def tests(folder: str, options: argparse.Namespace) -> Iterator[Row]:
    """One directory of the test suite, on cupy."""
    try:
        import pytest  # noqa: F401
    except ModuleNotFoundError:
        yield {"tests": folder, "refused": "pytest is not installed: pass a directory with its wheels with --wheels"}
        return
    files = sorted((HERE / "tests").glob("test_*.py") if folder == "top" else (HERE / "tests" / folder).rglob("test_*.py"))
    environment = {**os.environ, "TINYTORCH_BACKEND": "numpy" if options.rehearse else "cupy"}
    for file in files:  # one process per file, so that results are kept if a later file exceeds the time limit
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={scratch}", "-rfE", "--tb=line", str(file)]
            done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        row: Row = {"tests": str(file.relative_to(HERE)), "summary": lines[-1] if lines else done.stderr[-300:]}
        yield row | ({"failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))]} if done.returncode not in (0, 5) else {})


def curves(options: argparse.Namespace) -> Iterator[Row]:
    """Losses of the first 100 steps on cupy and on numpy, with the same seed, in float32."""
    found = {name: _losses(options, name) for name in ("numpy", "numpy" if options.rehearse else "cupy")}
    sides = list(found.values())
    differences = [abs(a - b) for a, b in zip(sides[0], sides[-1], strict=True)]
    yield {"curves": "nano, 100 steps, float32", "largest_difference": max(differences), "at_most": 1e-3, "losses": found}


def _losses(options: argparse.Namespace, backend: str) -> list[float]:
    with tempfile.TemporaryDirectory() as scratch:
        steps = "10" if options.rehearse else "100"
        rows, _ = _train(options, scratch, "--preset", "nano", "--backend", backend, "--steps", steps)
        return [row["train_loss"] for row in rows]


def shakespeare(options: argparse.Namespace) -> Iterator[Row]:
    """A complete training run of the baby GPT on a text, in 16 bits; the target on Tiny Shakespeare is 1.47."""
    if options.text is None:
        yield {"shakespeare": "", "refused": "pass a text with --text input.txt"}
        return
    precision = "float32" if options.rehearse else gpu().half
    given = ["--backend", "numpy", "--preset", "nano", "--steps", "20"] if options.rehearse else ["--backend", "cupy", "--preset", "baby"]
    with tempfile.TemporaryDirectory() as scratch:
        rows, seconds = _train(options, scratch, *given, "--precision", precision)
        val_losses = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
        yield {
            "shakespeare": options.text.name,
            "precision": precision,
            "steps": rows[-1]["step"],
            "val_loss": rows[-1].get("val_loss"),
            "at_most": TARGET_LOSS,
            "seconds": seconds,
            "val_losses": val_losses,
        }


def _train(options: argparse.Namespace, scratch: str, *given: str) -> tuple[list[Row], float]:
    """Run ``tinytorch train``; returns the rows of its metrics, and the seconds including startup."""
    out = Path(scratch) / "run"
    text = [] if options.text is None else [str(options.text)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "backends"), os.environ.get("PYTHONPATH", "")])}
    start = time.perf_counter()
    command = [sys.executable, "-m", "tinytorch", "train", *text, *given, "--out", str(out), "--seed", "0"]
    subprocess.run(command, cwd=HERE, env=environment, stdout=sys.stderr, check=True)
    seconds = time.perf_counter() - start
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()], seconds


def torch_shakespeare(options: argparse.Namespace) -> Iterator[Row]:
    """PyTorch on the same text with the same recipe, for its wall-clock time."""
    if options.text is None:
        yield {"torch-shakespeare": "", "refused": "pass a text with --text input.txt"}
        return
    from benchmarks.gpu.torch_shakespeare import train

    yield from train(options.text, None if options.rehearse else gpu())


def _parts() -> dict[str, Callable[[argparse.Namespace], Iterator[Row]]]:
    """All parts by name, in the order in which they run."""
    folders = sorted(path.name for path in (HERE / "tests").iterdir() if path.is_dir() and list(path.rglob("test_*.py")))
    found: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {"checks": checks}
    for folder in ["top", *folders]:
        found[f"tests-{folder}"] = partial(tests, folder)
    for name in WORKLOADS:
        found[name] = partial(_compare, name)
    return {**found, "curves": curves, "shakespeare": shakespeare, "torch-shakespeare": torch_shakespeare}


def _compare(name: str, options: argparse.Namespace) -> Iterator[Row]:
    return compare(name, options.rehearse)


PARTS = _parts()


def main() -> None:
    """The process of a part. Arguments: ``PART [--text FILE] [--rehearse]``. Prints a line of JSON for each row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    for row in PARTS[options.part](options):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
