"""Helpers to compare runs and to run the command in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from tinytorch.backend.selection import ENVIRONMENT_VARIABLE
from tinytorch.io.files import load_arrays


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(path: Path) -> list[tuple[Any, ...]]:
    """The metrics without ``tokens_per_second``, which is not reproducible."""
    return [tuple((name, value) for name, value in row.items() if name != "tokens_per_second") for row in rows(path)]


def assert_same_weights(left: Path, right: Path) -> None:
    assert (left / "model.safetensors").read_bytes() == (right / "model.safetensors").read_bytes()
    (ours, our_metadata), (theirs, their_metadata) = (load_arrays(path / "optimizer.safetensors") for path in (left, right))
    assert our_metadata == their_metadata  # the step and the state of the generator
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        numpy.testing.assert_array_equal(array, theirs[name], err_msg=name)


def assert_same_run(left: Path, right: Path) -> None:
    assert_same_weights(left, right)
    assert losses(left) == losses(right)


def saved_step(path: Path) -> int:
    """The step of the checkpoint."""
    return int(load_arrays(path / "optimizer.safetensors")[1]["step"])


def start(workdir: Path, *words: str, program: Sequence[str] = ("-m", "tinytorch"), **options: Any) -> subprocess.Popen[str]:
    """Start ``tinytorch`` with these arguments, or another program, in a separate process."""
    environment = {**os.environ, ENVIRONMENT_VARIABLE: "numpy"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, *program, *words], cwd=workdir, env=environment, text=True, **streams)


def wait_for_checkpoint(process: subprocess.Popen[str], path: Path, least: int) -> None:
    """Wait for a checkpoint of at least step ``least``."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (path / "model.safetensors").is_file() and int(load_arrays(path / "model.safetensors")[1]["step"]) >= least:
            return
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint of step {least}: {process.communicate()}")
