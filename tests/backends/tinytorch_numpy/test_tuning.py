"""`tinytorch.tune` on numpy: what it changes, each in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tinytorch_numpy.tuning import _find_openblas, _has_avx512

#: Prints what the last line of the code gives, as JSON.
_HEAD = "import json, os, resource, threading\nimport numpy\nimport tinytorch as tt\n"


def run(code: str, **environment: str) -> Any:
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("TINYTORCH_", "OPENBLAS_"))}
    body, _, last = code.strip().rpartition("\n")
    source = f"{_HEAD}{body}\nprint(json.dumps({last}))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env={**settings, **environment}, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _read(path: str) -> str:
    """A system's file, or nothing where it has none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


needs_openblas = pytest.mark.skipif(_find_openblas() is None, reason="this numpy has not the OpenBLAS of numpy's wheels")
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is tuned in glibc only")

CORE = "from tinytorch_numpy.tuning import _find_openblas\nblas = _find_openblas()\n"


def test_nothing_is_changed_where_it_is_turned_off() -> None:
    assert run("tt.tune()", TINYTORCH_TUNE="off", TINYTORCH_NUM_THREADS="1") == []


def test_a_second_call_changes_nothing_and_says_the_same() -> None:
    assert run("tt.tune() == tt.tune()")


@needs_glibc
def test_large_temporaries_fault_no_pages_in_again() -> None:
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
    sentences, faults = run(code)
    assert any("malloc" in sentence for sentence in sentences)
    _, untuned = run(code, TINYTORCH_TUNE="off")
    assert faults < untuned / 10


@needs_openblas
@pytest.mark.skipif(not _has_avx512(), reason="this CPU has no AVX-512")
def test_openblas_takes_its_avx512_kernels_and_computes_the_same() -> None:
    # OpenBLAS was loaded for an older CPU, as it takes some newer ones for, and has worked in several threads
    code = (
        CORE
        + """
a = numpy.random.default_rng(0).normal(size=(300, 300))
del os.environ["OPENBLAS_CORETYPE"]
before, product = blas.core_name().decode(), a @ a
sentences = tt.tune()
found = []
threads = [threading.Thread(target=lambda: found.append(float(numpy.abs(a @ a - product).max()))) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
[before, blas.core_name().decode(), max(found), sentences, blas.get_num_threads()]
"""
    )
    before, after, difference, sentences, threads = run(code, OPENBLAS_CORETYPE="Haswell", OPENBLAS_NUM_THREADS="2")
    assert (before, after, threads) == ("Haswell", "SkylakeX", 2)
    assert difference < 1e-11
    assert any("SkylakeX" in sentence for sentence in sentences)


@needs_openblas
def test_the_user_decides_about_kernels_and_threads() -> None:
    code = CORE + "tt.tune()\n[blas.core_name().decode(), blas.get_num_threads()]"
    kept = run(code, OPENBLAS_CORETYPE="Haswell", TINYTORCH_NUM_THREADS="1")
    assert kept == ["Haswell", 1]


@needs_openblas
def test_a_wrong_number_of_threads_is_refused_with_a_sentence() -> None:
    code = """
try:
    tt.tune()
    said = ""
except ValueError as error:
    said = str(error)
said
"""
    assert run(code, TINYTORCH_NUM_THREADS="many") == "TINYTORCH_NUM_THREADS must be a whole number of 1 or more, got 'many'"


@pytest.mark.skipif("[madvise]" not in _read("/sys/kernel/mm/transparent_hugepage/enabled"), reason="large pages are not given on request")
@needs_glibc
def test_small_arrays_lie_in_large_pages() -> None:
    code = """
tt.tune()
arrays = [numpy.ones(1 << 17) for _ in range(32)]
pages = next(line for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages"))
int(pages.split()[1])
"""
    assert run(code, TINYTORCH_TUNE="off") == 0
    assert run(code) > 0
