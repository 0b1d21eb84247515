"""What tests ask of the emulated CUDA, beyond CUDA's own interface."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

VARIABLE = "EMULATED_CUDA_CACHE"


def is_active() -> bool:
    """Whether this process runs on the emulated CUDA."""
    return VARIABLE in os.environ


@cache
def runtime() -> Any:
    """``libcuda.so.1``; see runtime.cpp."""
    library = ctypes.CDLL("libcuda.so.1")
    library.emulated_launches.restype = ctypes.c_ulonglong
    library.emulated_used.restype = ctypes.c_size_t
    for name in ("emulated_reason", "emulated_kernels", "emulated_waits"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def launches(device: int = 0) -> int:
    """How many kernels, copies, fills and matmuls were launched on a device. A replayed graph counts as one."""
    return int(runtime().emulated_launches(device))


def used(device: int = 0) -> int:
    """Bytes that are allocated on a device."""
    return int(runtime().emulated_used(device))


def kernels() -> set[str]:
    """Names of the kernels that were launched or captured since the last `clear`."""
    return set(runtime().emulated_kernels().decode().splitlines())


def waits() -> list[tuple[int, int]]:
    """The stream that waits and the stream that is waited for, for each wait since the last `clear`."""
    lines = runtime().emulated_waits().decode().splitlines()
    return [(int(waiting), int(waited)) for waiting, waited in map(str.split, lines)]


def clear() -> None:
    """Forget the kernels, waits and matmuls so far."""
    runtime().emulated_clear()
    cublas().emulated_blas_clear()


def reason() -> str:
    """Why the last capture was invalidated, or a kernel failed."""
    text: str = runtime().emulated_reason().decode()
    return text


def set_order(order: int) -> None:
    """Set the order in which the threads of a block run: 0 ascending, 1 descending, 2 strided."""
    runtime().emulated_set_order(order)


@cache
def cublas() -> Any:
    """``libcublas``; see cublas.cpp."""
    import cupy
    from cupy_backends.cuda.libs import cublas as _loaded  # noqa: F401

    library = ctypes.CDLL(f"libcublas.so.{cupy.cuda.runtime.runtimeGetVersion() // 1000}")
    library.emulated_blas_calls.restype = ctypes.c_char_p
    return library


def matmuls() -> list[dict[str, int]]:
    """The matmuls since the last call of this function, with cuBLAS's names of the arguments. One in a graph counts when it is captured."""
    calls = [json.loads(line) for line in cublas().emulated_blas_calls().decode().splitlines()]
    cublas().emulated_blas_clear()
    return calls


def handles(device: int = 0) -> int:
    """How many cuBLAS handles exist on a device."""
    return int(cublas().emulated_blas_handles(device))


def refusals() -> int:
    """How many matmuls cuBLAS did not support."""
    return int(cublas().emulated_blas_refusals())


def output_of(code: str, **environment: str) -> str:
    """What Python code prints in a process of its own with these environment variables, without the last line break."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")
