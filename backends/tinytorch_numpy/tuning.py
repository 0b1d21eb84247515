"""What a process can set for numpy's speed: malloc, the OpenBLAS that numpy's wheels bring, and kernels that numba compiles.

The first two are reached through ctypes and left alone where they are not what is expected: another C library, another BLAS, another
name of a function.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Kernel
from tinytorch.io.errors import InputError
from tinytorch_numpy import threads

THREADS_VARIABLE: Final = "TINYTORCH_NUM_THREADS"
NUMBA_VARIABLE: Final = "TINYTORCH_NUMBA"

_MIB: Final = 1 << 20


def tune() -> list[str]:
    """Everything of this file; a sentence for each thing that was changed."""
    blas = _find_openblas()
    done = [keep_freed_memory(), None if blas is None else use_widest_kernels(blas), set_threads(blas)]
    return [sentence for sentence in done if sentence]


# ---- malloc ----

#: Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

#: From madvise's mman.h.
_MADV_HUGEPAGE: Final = 14

#: How long the heap is made.
_HEAP: Final = 512 * _MIB


def keep_freed_memory() -> str | None:
    """Have glibc keep what large temporaries free, instead of giving the pages back and faulting them in again at each operation.

    By default it asks the system for each block above 128 KiB (a threshold that adapts, to 32 MiB at most, which is also the most that can
    be set) and returns the memory at the heap's end. All threads take from one heap, so that each finds what the others have freed.
    """
    if platform.libc_ver()[0] != "glibc":
        return None
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_ARENA_MAX, 1)
    kept = libc.mallopt(_M_MMAP_THRESHOLD, 32 * _MIB) and libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    if not kept:
        return None
    large = _map_heap_in_large_pages(libc)
    libc.mallopt(_M_TOP_PAD, 64 * _MIB)
    return f"malloc keeps blocks of up to 32 MiB that are freed{', in large pages' if large else ''}"


def _map_heap_in_large_pages(libc: ctypes.CDLL) -> bool:
    """Have the system use pages of 2 MiB for the heap, where it allows that: reading many small weights then misses fewer addresses.

    Only what is there can be told so, and numpy tells it of arrays from 4 MiB on by itself. So the heap is made long first, which takes
    addresses and no memory.
    """
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mallopt(_M_TOP_PAD, _HEAP)
    libc.free(libc.malloc(16 * _MIB))
    try:
        heap = next(line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines() if line.endswith("[heap]"))
    except (OSError, StopIteration):
        return False
    start, end = (int(address, 16) for address in heap.split()[0].split("-"))
    return bool(libc.madvise(start, end - start, _MADV_HUGEPAGE) == 0)


# ---- OpenBLAS ----


class OpenBLAS:
    """The library that numpy's wheel brings, with its functions by their names without prefix and suffix."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.core_name = self._function("openblas_get_corename", ctypes.c_char_p)
        self.get_num_threads = self._function("openblas_get_num_threads", ctypes.c_int)
        self.set_num_threads = self._function("openblas_set_num_threads", None, ctypes.c_int)

    def _function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """Raises ``AttributeError`` where there is none."""
        function = getattr(self._library, f"scipy_{name}64_")
        function.restype, function.argtypes = result, list(arguments)
        return function  # type: ignore[no-any-return]

    def choose_kernels_again(self) -> None:
        """Have it look at ``OPENBLAS_CORETYPE`` and the CPU once more, as when it was loaded."""
        threads = self.get_num_threads()
        self._library.gotoblas_dynamic_quit()
        self._library.gotoblas_dynamic_init()
        self.set_num_threads(threads)


def _find_openblas() -> OpenBLAS | None:
    """The OpenBLAS in this process, where it came with numpy's wheel."""
    for path in Path(numpy.__file__).parent.parent.glob("numpy.libs/libscipy_openblas64_*"):
        try:
            return OpenBLAS(ctypes.CDLL(str(path)))  # numpy has loaded it: this finds the same one
        except (OSError, AttributeError):
            continue
    return None


def use_widest_kernels(blas: OpenBLAS) -> str | None:
    """Switch OpenBLAS to its AVX-512 kernels on CPUs that have AVX-512 and that it takes for older ones, such as AMD's Zen 5.

    The functions are not part of OpenBLAS's interface, so the products of a matrix are compared before and after, and the switch is undone
    where they differ.
    """
    before = blas.core_name().decode()
    if before not in ("Haswell", "Zen") or not _has_avx512() or "OPENBLAS_CORETYPE" in os.environ:
        return None
    matrix = numpy.random.default_rng(0).normal(size=(96, 96)).astype(numpy.float32)
    expected = matrix @ matrix
    os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    try:
        blas.choose_kernels_again()
        if blas.core_name() == b"SkylakeX" and numpy.allclose(matrix @ matrix, expected, rtol=1e-4, atol=1e-4):
            return f"OpenBLAS uses its SkylakeX kernels (AVX-512) in place of {before}'s"
    finally:
        del os.environ["OPENBLAS_CORETYPE"]
    blas.choose_kernels_again()
    return None


def _has_avx512() -> bool:
    """Whether the CPU has the parts of AVX-512 that OpenBLAS's kernels use; unknown outside Linux."""
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return False
    return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags)


def set_threads(blas: OpenBLAS | None) -> str | None:
    """Work in one thread for each core that this process may use, or in as many as ``TINYTORCH_NUM_THREADS`` says.

    Raises `InputError` where that is no whole number of 1 or more.
    """
    wanted = os.environ.get(THREADS_VARIABLE, "").strip()
    if wanted and (not wanted.isdecimal() or int(wanted) < 1):
        raise InputError(f"{THREADS_VARIABLE} must be a whole number of 1 or more, got {wanted!r}")
    if blas is None:  # another BLAS's threads cannot be held back while ours work
        return None
    count = int(wanted) if wanted else min(_cores(), blas.get_num_threads())
    blas.set_num_threads(count)
    threads.use(count, blas.set_num_threads)
    why = f", as {THREADS_VARIABLE} says" if wanted else ""
    return f"work is shared by {count} threads{why}" if count > 1 or wanted else None


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- numba ----

#: The oldest that the kernels were tried with, as in the extra ``fast``.
_OLDEST_NUMBA: Final = "0.61"


def _release(version: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def use_numba() -> tuple[dict[str, Kernel], str | None]:
    """Kernels that numba compiles, where it is installed, and a sentence; none where ``TINYTORCH_NUMBA=off`` says so."""
    if os.environ.get(NUMBA_VARIABLE, "").strip().lower() == "off" or find_spec("numba") is None:
        return {}, None
    if _release(version("numba")) < _release(_OLDEST_NUMBA):  # somebody else's: ours would be a newer one
        return {}, f"numba {version('numba')} is left alone, as kernels need {_OLDEST_NUMBA} or newer"
    from tinytorch_numpy.compiled import KERNELS  # they load numba when they are given much to do

    return KERNELS, f"kernels compiled by numba {version('numba')} take the place of numpy's: {', '.join(KERNELS)}"
