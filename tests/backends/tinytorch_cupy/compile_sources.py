"""Compile every ``.cu`` of the cupy backend for several GPUs, with no GPU: `nox -s cuda_compile [-- NAME ...]`.

Needs cuda-core and CUDA's headers from PyPI. The options are those that cupy adds to the kernels' own. A kernel that does not fit into
the registers, and so keeps more than a few numbers in slow memory, is an error too.
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

#: Bytes that a thread may keep in slow memory; the compiler weighs that against more threads at once.
SPILLED = 32

HEADERS = Path(next(iter(nvidia.__path__))) / "cu13" / "include"

Job = tuple[str, Macros, str]


def jobs(names: list[str]) -> list[Job]:
    """Every variant of the sources of these names, or of all, for every chip that it is for."""
    return [
        (source.name, macros, chip)
        for source in SOURCES.values()
        if not names or source.name in names
        for macros in source.variants
        for chip in CHIPS
        if source.runs_on(macros, int(chip.removeprefix("sm_")))
    ]


def compile_one(job: Job) -> tuple[Job, str | None, list[str]]:
    """Compile; the error, if there is one, and a line of what each kernel needs."""
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
    return job, None, _needs(log.getvalue())


def _needs(log: str) -> list[str]:
    pattern = r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers(?:.*?(\d+) bytes smem)?"
    blocks = log.split("Compiling ")[1:]
    found = [match for block in blocks if (match := re.search(pattern, block, re.DOTALL))]
    return [f"{m[1]}: {m[4]} registers, {m[5] or 0} bytes shared, {m[2]} bytes stack, {m[3]} bytes spilled" for m in found]


def main() -> int:
    """Compile; with ``-v`` say what each kernel needs of a chip."""
    names = [word for word in sys.argv[1:] if word != "-v"]
    started, failed, count = time.perf_counter(), 0, 0
    with Pool(os.cpu_count()) as pool:
        for (name, macros, chip), error, needs in pool.imap_unordered(compile_one, jobs(names)):
            count += 1
            title = f"{name}.cu for {chip}, {', '.join(f'{key}={value}' for key, value in macros.items())}"
            spilled = [line for line in needs if int(line.split()[-3]) > SPILLED]
            failed += bool(error or spilled)
            if error:
                print(f"{title}\n{error}", file=sys.stderr)
            for line in needs if "-v" in sys.argv else spilled:
                print(f"{title}: {line}")
    print(f"{count - failed} of {count} variants compile and fit, in {time.perf_counter() - started:.0f} s")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
