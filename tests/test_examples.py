"""The examples run and print the expected results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinytorch.backend import Backend

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_borrowed_functions_recovers_the_mixture(backend: Backend) -> None:
    pytest.importorskip("scipy", reason="scipy is not installed")
    settings = {"TINYTORCH_BACKEND": backend.spec, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "borrowed_functions.py")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **settings},
    )
    rows = [line.split() for line in done.stdout.splitlines() if "true" in line]
    assert [row[0] for row in rows] == ["mean", "deviation", "weight"]
    for row in rows:
        true, found = [float(v) for v in row[2:5]], [float(v) for v in row[6:9]]
        assert found == pytest.approx(true, abs=0.12)
