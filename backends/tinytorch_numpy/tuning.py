"""Process-wide settings that make numpy faster: malloc, the OpenBLAS of numpy's wheels, and kernels compiled by numba.

malloc and OpenBLAS are set through ctypes. With another C library, another BLAS or other function names, nothing is changed.
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
    """Set malloc, OpenBLAS and threads; returns a message for each change."""
    blas = find_openblas()
    messages = [keep_freed_memory(), None if blas is None else use_widest_kernels(blas), set_threads(blas)]
    return [message for message in messages if message]


# ---- malloc ----

#: Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

#: From madvise's mman.h.
_MADV_HUGEPAGE: Final = 14

#: Size to which the heap is grown, in bytes.
_HEAP: Final = 512 * _MIB


def keep_freed_memory() -> str | None:
    """Make glibc keep the memory of freed temporaries, instead of unmapping it and faulting the pages in again at each operation.

    By default glibc maps every block above 128 KiB anew (the threshold adapts up to 32 MiB, which is also the highest allowed value) and
    trims the heap. One arena serves all threads, so that a thread can reuse what another has freed.
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
    return f"malloc keeps freed blocks of up to 32 MiB{', in large pages' if large else ''}"


def _map_heap_in_large_pages(libc: ctypes.CDLL) -> bool:
    """Request 2 MiB pages for the heap, which reduces TLB misses when many small weights are read; returns whether it worked.

    ``madvise`` applies only to addresses that are already mapped, so the heap is grown first. This reserves addresses, not memory. numpy
    itself requests large pages for arrays of 4 MiB or more.
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
    """The OpenBLAS of numpy's wheel. Its functions are called without their prefix and suffix."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.core_name = self._function("openblas_get_corename", ctypes.c_char_p)
        self.get_num_threads = self._function("openblas_get_num_threads", ctypes.c_int)
        self.set_num_threads = self._function("openblas_set_num_threads", None, ctypes.c_int)

    def _function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """The C function of that name; raises ``AttributeError`` if there is none."""
        function = getattr(self._library, f"scipy_{name}64_")
        function.restype, function.argtypes = result, list(arguments)
        return function  # type: ignore[no-any-return]

    def reselect_kernels(self) -> None:
        """Make OpenBLAS read ``OPENBLAS_CORETYPE`` and detect the CPU again, as when it was loaded."""
        threads = self.get_num_threads()
        self._library.gotoblas_dynamic_quit()
        self._library.gotoblas_dynamic_init()
        self.set_num_threads(threads)


def find_openblas() -> OpenBLAS | None:
    """The OpenBLAS of numpy's wheel in this process, or ``None``."""
    for path in Path(numpy.__file__).parent.parent.glob("numpy.libs/libscipy_openblas64_*"):
        try:
            return OpenBLAS(ctypes.CDLL(str(path)))  # numpy has loaded this library already; CDLL returns the same handle
        except (OSError, AttributeError):
            continue
    return None


def use_widest_kernels(blas: OpenBLAS) -> str | None:
    """Switch OpenBLAS to its AVX-512 kernels on CPUs that have AVX-512 but are detected as older ones, such as AMD's Zen 5.

    The functions are not part of OpenBLAS's public interface, so a matmul is compared before and after the switch, which is undone if the
    results differ.
    """
    before = blas.core_name().decode()
    if before not in ("Haswell", "Zen") or not has_avx512() or "OPENBLAS_CORETYPE" in os.environ:
        return None
    matrix = numpy.random.default_rng(0).normal(size=(96, 96)).astype(numpy.float32)
    expected = matrix @ matrix
    os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    try:
        blas.reselect_kernels()
        if blas.core_name() == b"SkylakeX" and numpy.allclose(matrix @ matrix, expected, rtol=1e-4, atol=1e-4):
            return f"OpenBLAS uses its SkylakeX kernels (AVX-512) instead of {before}'s"
    finally:
        del os.environ["OPENBLAS_CORETYPE"]
    blas.reselect_kernels()
    return None


def has_avx512() -> bool:
    """Whether the CPU has the AVX-512 extensions that OpenBLAS's kernels use; false outside Linux, where it is not known."""
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return False
    return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags)


def set_threads(blas: OpenBLAS | None) -> str | None:
    """Use one thread for each core that this process may use, or ``TINYTORCH_NUM_THREADS`` threads if that is set.

    Raises `InputError` if ``TINYTORCH_NUM_THREADS`` is not a positive integer.
    """
    wanted = os.environ.get(THREADS_VARIABLE, "").strip()
    if wanted and (not wanted.isdecimal() or int(wanted) < 1):
        raise InputError(f"{THREADS_VARIABLE} must be a positive integer, got {wanted!r}")
    if blas is None:  # the threads of another BLAS cannot be limited while ours run
        return None
    count = int(wanted) if wanted else min(_cores(), blas.get_num_threads())
    blas.set_num_threads(count)
    threads.use(count, blas.set_num_threads)
    reason = f", as set by {THREADS_VARIABLE}" if wanted else ""
    return f"uses {count} threads{reason}" if count > 1 or wanted else None


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- numba ----

#: The oldest numba that the kernels were tested with, as in the extra ``fast``.
_OLDEST_NUMBA: Final = "0.61"


def _major_minor(version: str) -> tuple[int, int]:
    """Major and minor number of a version."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def use_numba() -> tuple[dict[str, Kernel], str | None]:
    """Kernels compiled by numba and a message about them; none if numba is not installed or ``TINYTORCH_NUMBA=off``."""
    if os.environ.get(NUMBA_VARIABLE, "").strip().lower() == "off" or find_spec("numba") is None:
        return {}, None
    if _major_minor(version("numba")) < _major_minor(_OLDEST_NUMBA):  # not installed by the extra ``fast``, which requires a newer one
        return {}, f"numba {version('numba')} is not used, because the kernels need {_OLDEST_NUMBA} or newer"
    from tinytorch_numpy.compiled import KERNELS  # numba itself is imported at the first large call

    return KERNELS, f"kernels compiled by numba {version('numba')} replace numpy's: {', '.join(KERNELS)}"
