"""Compile every ``.cu`` file of the cupy backend for several GPU architectures, without a GPU: `nox -s cuda_compile [-- NAME ...]`.

Requires cuda-core and CUDA's headers from PyPI. The compiler options are those of the kernels and those that cupy adds. A kernel that
spills more than a few registers is an error too.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from multiprocessing import Pool
from pathlib import Path

import nvidia
from cuda.core import Program, ProgramOptions

import tinytorch_cupy.kernels  # noqa: F401 - lists the sources
from tinytorch_cupy.kernels.launch import SOURCES, Macros

#: Turing (Colab's T4), Ampere (A100), Hopper (H100, H200), Blackwell for desktops.
CHIPS = ("sm_75", "sm_80", "sm_90", "sm_120")

#: Most bytes of spilled registers per thread; the compiler may spill for higher occupancy.
MAX_SPILLED = 32

HEADERS = Path(next(iter(nvidia.__path__))) / "cu13" / "include"

Job = tuple[str, Macros, str]


def jobs(names: list[str]) -> list[Job]:
    """Every variant of the named sources (default: all), for every architecture that uses it."""
    return [
        (source.name, macros, chip)
        for source in SOURCES.values()
        if not names or source.name in names
        for macros in source.variants
        for chip in CHIPS
        if source.runs_on(macros, int(chip.removeprefix("sm_")))
    ]


def compile_one(job: Job) -> tuple[Job, str | None, list[str]]:
    """Compile one variant; returns the error, if any, and a line with the resources of each kernel."""
    name, macros, chip = job
    source = SOURCES[name]
    defines = [option.removeprefix("-D") for option in source.options(macros) if option.startswith("-D")]
    options = ProgramOptions(
        std="c++17",
        arch=chip,
        include_path=[str(HEADERS), str(HEADERS / "cccl")],
        define_macro=[tuple(define.split("=")) for define in defines],
        ftz=True,
        device_as_default_execution_space=True,
        ptxas_options=["-v"],
    )
    log = io.StringIO()
    try:
        Program(source.text(), "c++", options).compile("cubin", logs=log)
    except Exception as error:
        return job, str(error), []
    return job, None, _resources(log.getvalue())


def _resources(log: str) -> list[str]:
    pattern = r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers(?:.*?(\d+) bytes smem)?"
    blocks = log.split("Compiling ")[1:]
    found = [match for block in blocks if (match := re.search(pattern, block, re.DOTALL))]
    return [f"{m[1]}: {m[4]} registers, {m[5] or 0} bytes shared, {m[2]} bytes stack, {m[3]} bytes spilled" for m in found]


def main() -> int:
    """Compile all variants; ``-v`` prints the resources of each kernel."""
    names = [word for word in sys.argv[1:] if word != "-v"]
    started, failed, count = time.perf_counter(), 0, 0
    with Pool(os.cpu_count()) as pool:
        for (name, macros, chip), error, resources in pool.imap_unordered(compile_one, jobs(names)):
            count += 1
            title = f"{name}.cu for {chip}, {', '.join(f'{key}={value}' for key, value in macros.items())}"
            spilled = [line for line in resources if int(line.split()[-3]) > MAX_SPILLED]
            failed += bool(error or spilled)
            if error:
                print(f"{title}\n{error}", file=sys.stderr)
            for line in resources if "-v" in sys.argv else spilled:
                print(f"{title}: {line}")
    print(f"{count - failed} of {count} variants compile and fit, in {time.perf_counter() - started:.0f} s")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
