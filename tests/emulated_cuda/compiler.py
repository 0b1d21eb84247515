"""Compile the kernels of a running cupy for the CPU, instead of for a GPU: ours, and cupy's own elementwise and reduction kernels.

Each source is first compiled by NVRTC for two architectures, as a check, and then by g++ with the headers of the emulator, which runs the
threads of a block as fibers. Compiled files are cached in EMULATED_CUDA_CACHE.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EMULATOR = HERE.parent / "backends" / "tinytorch_cupy" / "emulator"

#: Architectures that NVRTC compiles every source for: Turing (Colab's T4) and Hopper.
CHECKED = ("75", "90")

#: Shared memory of a block in bytes.
SHARED_MEMORY = 48 << 10

#: What the kernel of a template is called in its library, followed by a number.
NAMED = "emulated_instance_"

FLAGS = [
    "-std=c++17",
    "-O1",
    "-w",
    "-fpermissive",
    "-fPIC",
    "-shared",
    "-Wl,-Bsymbolic",
    "-fno-gnu-unique",
    "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",
    "-D__CUDACC_VER_MAJOR__=12",
]

OWN_HEADERS = [
    "-include",
    str(EMULATOR / "emulator.h"),
    f"-I{EMULATOR}",
    f"-I{EMULATOR / 'include'}",
    f"-I{EMULATOR / 'include_cuda_12_2'}",
]


def patch(cupy_compiler: Any) -> None:
    """Replace the function of ``cupy.cuda.compiler`` that compiles and loads a source."""
    from cupy.cuda import function

    def compile_and_load(
        source: str, options: tuple[str, ...] = (), *args: Any, name_expressions: Sequence[str] | None = None, **kwargs: Any
    ) -> Any:
        names = tuple(name_expressions or ())
        module = function.Module()
        module.load(b"EMULATED:" + str(compiled(cupy_compiler, source, options, names)).encode() + b"\0")
        module._set_mapping({name: f"{NAMED}{i}" for i, name in enumerate(names)})
        return module

    cupy_compiler._compile_module_with_cache = compile_and_load


def compiled(cupy_compiler: Any, source: str, options: Sequence[str], names: Sequence[str] = ()) -> Path:
    """The library of a source, compiled if it is not in the cache. Raises cupy's CompileException if NVRTC refuses the source."""
    folder = Path(os.environ["EMULATED_CUDA_CACHE"])
    definitions = [option for option in options if option.startswith("-D")]
    key = hashlib.sha256("\n".join([source, *definitions, *names, emulator_hash()]).encode()).hexdigest()[:32]
    target = folder / key[:2] / f"{key}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            if not target.exists():
                check(cupy_compiler, source, tuple(options), tuple(names))
                compile_for_cpu(source, definitions, names, target)
    return target


def check(cupy_compiler: Any, source: str, options: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Compile the source by NVRTC and discard the result."""
    extra = getattr(cupy_compiler, "_get_extra_include_dir_opts", lambda: ())()
    for architecture in CHECKED:
        if not needs_newer_gpu(options, architecture):
            arguments = ((*options, "-ftz=true", *extra), architecture, "kernel.cu", names or None, None, False, None, None)
            cupy_compiler._compile_using_nvrtc_no_warning(source, *arguments)


def needs_newer_gpu(options: Sequence[str], architecture: str) -> bool:
    """Whether the launch code never compiles this variant for the architecture: bfloat16 on tensor cores needs 8.0."""
    return architecture == "75" and "-DTENSOR=1" in options and any("bfloat16" in option for option in options)


def compile_for_cpu(source: str, definitions: Sequence[str], instances: Sequence[str], target: Path) -> None:
    """Compile a source, with its kernels and these ``instances`` of templates, by g++."""
    names = dict.fromkeys(re.findall(r'extern "C" __global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(', source))
    is_cupys = "cupy/carray.cuh" in source or bool(instances)
    # A loop over the elements gives the same result in one thread, and one thread needs no fibers.
    serial = is_cupys and "CUPY_FOR" in source and "__syncthreads" not in source
    macro = "EMULATED_SERIAL" if serial else "EMULATED"
    # Dynamic shared memory, whose size is an argument of the launch, becomes static memory of the largest size.
    source = re.sub(r"extern __shared__ ([\w:<> ]+?) (\w+)\[\];", rf"__shared__ \1 \2[{SHARED_MEMORY} / sizeof(\1)];", source)
    aliases = [f"constexpr auto {NAMED}{i} = &{name};\n{macro}({NAMED}{i})" for i, name in enumerate(instances)]
    text = "\n".join([source, *[f"{macro}({name})" for name in names], *aliases])
    path = target.with_suffix(f".{os.getpid()}.cpp")
    library = path.with_suffix(".so")
    path.write_text(text, encoding="utf-8")
    command = ["g++", *FLAGS, *(prefix_flags() if is_cupys else OWN_HEADERS), *definitions, str(path), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"emulated CUDA: g++ does not compile {', '.join(names)} in {path}:\n{done.stderr[:4000]}", file=sys.stderr)
        raise RuntimeError(f"emulated CUDA: g++ does not compile {', '.join(names)} in {path}")
    library.replace(target)
    path.unlink()


@cache
def prefix_flags() -> tuple[str, ...]:
    """Flags for cupy's kernels. Their headers take longer to compile than a kernel, so they are compiled once."""
    import cupy

    folder = Path(os.environ["EMULATED_CUDA_CACHE"])
    flags = ("-fvisibility=hidden", f"-I{HERE / 'include'}", f"-I{EMULATOR}", f"-I{EMULATOR / 'include'}", f"-I{headers_of(cupy)}")
    header = folder / f"prefix-{emulator_hash()[:16]}.h"
    binary = header.with_suffix(".h.gch")
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with locked(header.with_suffix(".lock")):
            if not binary.exists():
                header.write_text('#include "cupy_kernels.h"\n', encoding="utf-8")
                temporary = binary.with_suffix(f".{os.getpid()}")
                subprocess.run(["g++", *FLAGS, *flags, "-x", "c++-header", str(header), "-o", str(temporary)], check=True)
                temporary.replace(binary)
    return (*flags, "-include", str(header))


def headers_of(cupy: Any) -> Path:
    return Path(cupy.__file__).parent / "_core" / "include"


@cache
def emulator_hash() -> str:
    """A hash of everything that a compiled kernel depends on, besides its source."""
    import cupy

    files = [*sorted(EMULATOR.rglob("*.h")), *sorted(EMULATOR.glob("*.cpp")), *sorted((HERE / "include").rglob("*.h"))]
    parts = [path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(parts) + " ".join([*FLAGS, *CHECKED, cupy.__version__]).encode()).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock, so that two processes do not compile the same file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
