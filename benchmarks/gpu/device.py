"""What workloads depend on: the 16-bit precision and the memory of the GPU. ``python -m benchmarks.gpu.device`` prints them as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from benchmarks.gpu.workloads import Gpu
from tinytorch.backend import Backend, get_backend


def gpu() -> Gpu:
    """The GPU, described by a process of its own, so that this one uses no memory there. Raises ``RuntimeError`` if cupy cannot run."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu.device"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["cupy cannot run"])[-1])
    return Gpu(**json.loads(done.stdout))


def described(backend: Backend) -> Gpu:
    """The GPU of a backend."""
    memory = backend.memory_info()
    return Gpu("float16" if backend.lacks_precision("bfloat16") else "bfloat16", 0.0 if memory is None else memory.total / 2**30)


if __name__ == "__main__":
    print(json.dumps(asdict(described(get_backend("cupy")))))
