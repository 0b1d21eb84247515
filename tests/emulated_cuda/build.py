"""Build the emulated CUDA for the installed cupy: `python tests/emulated_cuda/build.py DIRECTORY`.

cupy's wheels contain the CUDA runtime, except for the functions of the driver and of cuBLAS. So this compiles, from cupy's source
distribution, the one extension module that calls the runtime, links it to ``runtime.cpp`` and puts it in place of the installed module.
DIRECTORY gets the libraries, and belongs on ``LD_LIBRARY_PATH``; its subdirectory ``site`` belongs on ``PYTHONPATH``.

Requires g++, Cython, and CUDA's headers and NVRTC from PyPI. The installed cupy can then be used with the emulated CUDA only.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
EMULATOR = HERE.parent / "backends" / "tinytorch_cupy" / "emulator"
RUNTIME = "cupy_backends/cuda/api/runtime"
GPP = ["g++", "-std=c++17", "-O2", "-w", "-fPIC", "-shared"]

#: Functions that are missing in the emulation return these errors: cudaErrorNotSupported and CUBLAS_STATUS_NOT_SUPPORTED.
NOT_SUPPORTED = {"cuda": 801, "cublas": 15}


def installed_cupy() -> tuple[str, int, Path]:
    """The version of cupy, the major version of its CUDA, and the directory that it is installed in."""
    major, version = next(
        (major, metadata.version(name)) for name, major in (("cupy-cuda12x", 12), ("cupy-cuda13x", 13)) if _is_installed(name)
    )
    spec = find_spec("cupy_backends")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return version, major, Path(next(iter(spec.submodule_search_locations))).parent


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def include_directories(site: Path) -> list[Path]:
    """Directories of CUDA's headers: those of CUDA 13 are in one directory, those of CUDA 12 in one for each package."""
    return [path for path in sorted(site.glob("nvidia/*/include")) if path.is_dir()]


def build(target: Path) -> None:
    """Build everything into ``target``, unless that was done from the same sources."""
    version, major, site = installed_cupy()
    target.mkdir(parents=True, exist_ok=True)
    stamp, state = target / "built", source_hash() + version
    if stamp.exists() and stamp.read_text(encoding="utf-8") == state:
        return
    includes = [f"-I{path}" for path in include_directories(site)]
    run(*GPP, *includes, HERE / "runtime.cpp", "-o", target / "libcuda.so.1", "-Wl,-soname,libcuda.so.1", "-ldl")
    run(*GPP, EMULATOR / "fibers.cpp", "-o", target / "libfibers.so", "-Wl,-soname,libfibers.so")
    build_cublas(major, site, target)
    with tempfile.TemporaryDirectory() as scratch:
        source = download(version, Path(scratch))
        build_runtime_module(source, site, target, includes, cuda_version(major))
    stamp.write_text(state, encoding="utf-8")


def source_hash() -> str:
    """A hash of the sources of the emulation."""
    sources = [*sorted(HERE.glob("*.cpp")), *sorted(EMULATOR.glob("fibers.*")), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def cuda_version(major: int) -> int:
    """The version of CUDA that the module is compiled for. 12.0 and 13.0 differ in some structures."""
    return major * 1000


def build_cublas(major: int, site: Path, target: Path) -> None:
    """Build libcublas with every function that cupy links to, and an empty libcublasLt, which is loaded before it."""
    name, source, missing, versions = f"libcublas.so.{major}", HERE / "cublas.cpp", target / "missing_cublas.cpp", target / "cublas.map"
    versions.write_text(f"{name} {{ global: *; }};\n", encoding="utf-8")  # cupy's module asks for versioned symbols
    flags = [f"-Wl,-soname,{name}", f"-Wl,--version-script,{versions}", f"-L{target}", "-l:libcuda.so.1"]
    run(*GPP, source, "-o", target / name, *flags)
    wanted = {symbol for symbol in undefined(next(site.glob("cupy_backends/cuda/libs/cublas.*.so"))) if symbol.startswith("cublas")}
    missing.write_text(stubs(wanted - exported(target / name), NOT_SUPPORTED["cublas"]), encoding="utf-8")
    run(*GPP, source, missing, "-o", target / name, *flags)
    empty = f"libcublasLt.so.{major}"
    run(*GPP, "-x", "c++", os.devnull, "-o", target / empty, f"-Wl,-soname,{empty}")


def build_runtime_module(source: Path, site: Path, target: Path, includes: list[str], version: int) -> None:
    """Compile cupy's module of the runtime API against ``runtime.cpp``, and install it."""
    environment = [
        f"-E{name}={value}" for name, value in {"CUPY_CUDA_VERSION": version, "CUPY_HIP_VERSION": 0, "CUPY_USE_CUDA_PYTHON": 0}.items()
    ]
    cython = [sys.executable, "-m", "cython", "--cplus", *environment, "-X", "legacy_implicit_noexcept=True"]
    subprocess.run([*cython, f"{RUNTIME}.pyx"], cwd=source, check=True)
    headers = [*includes, f"-I{HERE / 'include'}", f"-I{sysconfig.get_path('include')}"]
    compiled, missing, built = target / "runtime.o", target / "missing_runtime.cpp", target / "runtime.so"
    run(*GPP, *headers, "-c", source / f"{RUNTIME}.cpp", "-o", compiled)
    wanted = {symbol for symbol in undefined(compiled) if symbol.startswith("cuda")}
    missing.write_text(stubs(wanted - exported(target / "libcuda.so.1"), NOT_SUPPORTED["cuda"]), encoding="utf-8")
    run(*GPP, compiled, missing, "-o", built, f"-L{target}", "-l:libcuda.so.1")
    installed = next(site.glob(f"{RUNTIME}.*.so"))
    installed.unlink()  # pip may have linked it to its cache
    installed.write_bytes(built.read_bytes())


def download(version: str, directory: Path) -> Path:
    """Download and unpack cupy's source distribution."""
    # pip runs its setup.py for the metadata; with this variable it does not look for CUDA.
    environment = {**os.environ, "CUPY_INSTALL_USE_STUB": "1"}
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        "cupy",
        f"cupy=={version}",
        "-d",
        str(directory),
    ]
    subprocess.run(command, check=True, env=environment)
    with tarfile.open(next(directory.glob("cupy-*.tar.gz"))) as archive:
        archive.extractall(directory, filter="data")
    return directory / f"cupy-{version}"


def stubs(names: set[str], error: int) -> str:
    """C definitions of functions that return an error."""
    return "".join(f'extern "C" int {name}() {{ return {error}; }}\n' for name in sorted(names))


def exported(library: Path) -> set[str]:
    return set(re.findall(r" [TW] (\w+)", output("nm", "-D", "--defined-only", library)))


def undefined(library: Path) -> set[str]:
    dynamic = ["-D"] if ".so" in library.name else []
    return set(re.findall(r" U (\w+)", output("nm", *dynamic, "--undefined-only", library)))


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)


def output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
