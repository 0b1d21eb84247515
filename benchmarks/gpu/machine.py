"""Description of the machine of a measurement."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "cupy", "numpy", "torch", "array-api-compat", "ml_dtypes")
HERE = Path(__file__).parents[2]


def machine() -> dict[str, Any]:
    """Device, driver, versions, date and commit."""
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _output_of("git", "-C", str(HERE), "rev-parse", "HEAD") or "unknown",
        "changed": bool(_output_of("git", "-C", str(HERE), "status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {name: known for name in _PACKAGES if (known := _version(name))},
    }
    return found | _gpu()


def _gpu() -> dict[str, Any]:
    try:
        import cupy

        runtime = cupy.cuda.runtime
        properties = runtime.getDeviceProperties(0)
    except Exception as error:  # a rehearsal needs no GPU
        return {"device": f"no GPU ({type(error).__name__})"}
    return {
        "device": properties["name"].decode(),
        "compute_capability": cupy.cuda.Device(0).compute_capability,
        "memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
        "cuda_driver": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "driver": _output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "unknown",
    }


def _output_of(*command: str) -> str:
    """The output of a command; empty if the command does not exist."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
