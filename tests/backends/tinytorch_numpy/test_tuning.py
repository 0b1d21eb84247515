"""What `tinytorch.tune` changes for numpy, each test in a new process."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tinytorch_numpy.tuning import find_openblas, has_avx512

#: Imports that are prepended to the code of a test.
_HEAD = "import json, os, resource, threading\nimport numpy\nimport tinytorch as tt\n"


def run(code: str, **environment: str) -> Any:
    """Run ``code`` in a new process and return the value of its last line."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("TINYTORCH_", "OPENBLAS_"))}
    body, _, last = code.strip().rpartition("\n")
    source = f"{_HEAD}{body}\nprint(json.dumps({last}))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env={**settings, **environment}, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _read(path: str) -> str:
    """Contents of a system file, or an empty string if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


needs_openblas = pytest.mark.skipif(find_openblas() is None, reason="this numpy does not use the OpenBLAS of numpy's wheels")
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is tuned only for glibc")

CORE = "from tinytorch_numpy.tuning import find_openblas\nblas = find_openblas()\n"


def test_tune_can_be_disabled() -> None:
    assert run("tt.tune()", TINYTORCH_TUNE="off", TINYTORCH_NUM_THREADS="1") == []


def test_a_second_call_returns_the_same_messages() -> None:
    assert run("tt.tune() == tt.tune()")


@needs_glibc
def test_large_temporaries_reuse_freed_memory() -> None:
    code = """
first = tt.tune()
a = numpy.ones(1 << 20)
for _ in range(5):
    b = [a + a for _ in range(8)]
    del b
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b = [a + a for _ in range(8)]
    del b
[first, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]
"""
    messages, faults = run(code)
    assert any("malloc" in message for message in messages)
    _, untuned = run(code, TINYTORCH_TUNE="off")
    assert faults < untuned / 10


@needs_openblas
@pytest.mark.skipif(not has_avx512(), reason="this CPU has no AVX-512")
def test_openblas_switches_to_avx512_kernels_with_the_same_results() -> None:
    # OpenBLAS has selected kernels of an older CPU, as it does on some newer ones, and has run several threads
    code = (
        CORE
        + """
a = numpy.random.default_rng(0).normal(size=(300, 300))
del os.environ["OPENBLAS_CORETYPE"]
before, product = blas.core_name().decode(), a @ a
messages = tt.tune()
differences = []
threads = [threading.Thread(target=lambda: differences.append(float(numpy.abs(a @ a - product).max()))) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
[before, blas.core_name().decode(), max(differences), messages, blas.get_num_threads()]
"""
    )
    before, after, difference, messages, threads = run(code, OPENBLAS_CORETYPE="Haswell", OPENBLAS_NUM_THREADS="2")
    assert (before, after, threads) == ("Haswell", "SkylakeX", 2)
    assert difference < 1e-11
    assert any("SkylakeX" in message for message in messages)


@needs_openblas
def test_environment_variables_override_kernels_and_threads() -> None:
    code = CORE + "tt.tune()\n[blas.core_name().decode(), blas.get_num_threads()]"
    settings = run(code, OPENBLAS_CORETYPE="Haswell", TINYTORCH_NUM_THREADS="1")
    assert settings == ["Haswell", 1]


@needs_openblas
def test_an_invalid_number_of_threads_raises() -> None:
    code = """
try:
    tt.tune()
    message = ""
except ValueError as error:
    message = str(error)
message
"""
    assert run(code, TINYTORCH_NUM_THREADS="many") == "TINYTORCH_NUM_THREADS must be a positive integer, got 'many'"


@pytest.mark.skipif("[madvise]" not in _read("/sys/kernel/mm/transparent_hugepage/enabled"), reason="no large pages on request")
@needs_glibc
def test_small_arrays_use_large_pages() -> None:
    code = """
tt.tune()
arrays = [numpy.ones(1 << 17) for _ in range(32)]
pages = next(line for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages"))
int(pages.split()[1])
"""
    assert run(code, TINYTORCH_TUNE="off") == 0
    assert run(code) > 0
