"""A fake cupy without a GPU: its arrays are numpy arrays, and CUDA code runs in the emulator of this directory.

The Python code that launches kernels runs unchanged, so order and types of arguments, grid sizes, strides and shapes are tested with the
CUDA code. An array ends at a protected page of memory, and is initialized with NaN.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import mmap
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy

HERE = Path(__file__).parent
FLAGS = [
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-Wl,-Bsymbolic",
    "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",
    f"-I{HERE}",
    f"-I{HERE / 'include'}",
]

#: Maximum blocks of a grid, then maximum threads of a block, along x, y and z ("Compute Capabilities" in the CUDA C++ Programming Guide).
LIMITS = (2**31 - 1, 2**16 - 1, 2**16 - 1, 1024, 1024, 64)

#: Orders in which the threads of a block run: ascending, descending, strided. If a result depends on the order, there is a race.
ORDERS = (0, 1, 2)

_libc = ctypes.CDLL(None, use_errno=True)


def usable() -> str | None:
    """The reason why kernels cannot be emulated here, or ``None``."""
    if os.name != "posix":
        return "the emulator of CUDA needs POSIX"
    if shutil.which("g++") is None:
        return "the emulator of CUDA needs g++"
    return None


class ndarray(numpy.ndarray[Any, Any]):
    """A numpy array with the attributes of cupy arrays that the kernels use."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data, device_id=0)

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0, compute_capability=state.capability)

    def _read(self) -> numpy.ndarray[Any, Any]:
        assert not state.launching, "the launch code reads a value from the GPU"
        return self.view(numpy.ndarray)

    def __bool__(self) -> bool:
        return bool(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __index__(self) -> int:
        return self._read().__index__()

    def item(self, *args: Any) -> Any:
        return self._read().item(*args)

    def tolist(self) -> Any:
        return self._read().tolist()


def empty(shape: Any, dtype: Any = "float32", order: str = "C") -> ndarray:
    """An array filled with NaN, or -1, that ends just before protected memory."""
    dtype = _dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    size = int(numpy.prod(shape, dtype=int)) * dtype.itemsize
    used = -(-max(size, 1) // 16) * 16  # cupy aligns arrays to 512 bytes, and the kernels rely on 16
    pages = -(-used // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    memory.write(b"\xff" * (pages * mmap.PAGESIZE))
    buffer = numpy.frombuffer(memory, numpy.uint8)
    guard = buffer.ctypes.data + pages * mmap.PAGESIZE
    if _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect failed")
    start = pages * mmap.PAGESIZE - used
    return buffer[start : start + size].view(dtype).reshape(shape).view(ndarray)


def _dtype(dtype: Any) -> numpy.dtype[Any]:
    if dtype == "bfloat16":
        import ml_dtypes

        return numpy.dtype(ml_dtypes.bfloat16)
    return numpy.dtype(dtype)


def zeros(shape: Any, dtype: Any = "float32") -> ndarray:
    out = empty(shape, dtype)
    out.fill(0)
    return out


def asarray(values: Any, dtype: Any = None) -> ndarray:
    values = numpy.asarray(values) if dtype is None else numpy.asarray(values).astype(_dtype(dtype))
    out = empty(values.shape, values.dtype)
    out[...] = values
    return out


def ascontiguousarray(x: Any, dtype: Any = None) -> ndarray:
    return x if x.flags.c_contiguous and dtype in (None, x.dtype) else asarray(x, dtype)


class RawModule:
    """A CUDA source, compiled by g++."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        self.library = compiled(code, options)

    def get_function(self, name: str) -> Any:
        return SimpleNamespace(kernel=Function(self.library, name))


class Function:
    """A kernel, as ``cupy.cuda.Function``."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        self.run = getattr(library, f"run_{name}")
        self.run.restype = ctypes.c_char_p
        signature = getattr(library, f"signature_{name}")
        signature.restype = ctypes.c_char_p
        self.kinds = signature().decode().split()

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
        assert len(args) == len(self.kinds), f"{self.name} expects {len(self.kinds)} arguments, got {len(args)}"
        values = [
            _argument_bytes(arg, kind, f"argument {i} of {self.name}") for i, (arg, kind) in enumerate(zip(args, self.kinds, strict=True))
        ]
        pointers = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        sizes = [(*size, 1, 1)[:3] for size in (grid, block)]
        counts = zip((*sizes[0], *sizes[1]), LIMITS, strict=True)
        within_limits = math.prod(block) <= 1024 and all(isinstance(n, int) and 0 < n <= limit for n, limit in counts)
        assert within_limits, f"{self.name}: a grid of {grid} with blocks of {block} exceeds CUDA's limits"
        state.launches.append(self.name)
        error = self.run(pointers, *[(ctypes.c_uint * 3)(*size) for size in sizes], state.order)
        assert error is None, f"{self.name}: {error.decode()}"


def _argument_bytes(arg: Any, kind: str, what: str) -> numpy.ndarray[Any, Any]:
    """The bytes of an argument, checked against the type of the parameter."""
    if kind.startswith("P"):
        if isinstance(arg, ndarray):
            assert kind in ("P" + arg.dtype.name, "PV1"), f"{what} points to {kind[1:]}, got an array of {arg.dtype.name}"
            return numpy.asarray(arg.ctypes.data, numpy.uintp)
        assert isinstance(arg, numpy.uintp), f"{what} is a pointer, got {arg!r}"
        return numpy.asarray(arg)
    if kind.startswith("V"):
        assert type(arg) is numpy.ndarray, f"{what} is a structure, got {arg!r}"
        assert (arg.size, arg.dtype.itemsize) == (1, int(kind[1:])), f"{what} has {kind[1:]} bytes, got {arg.dtype.itemsize}"
        return arg
    assert isinstance(arg, numpy.generic), f"{what} is {kind}, got {arg!r}, which is not a numpy scalar"
    assert arg.dtype.name == kind, f"{what} is {kind}, got {arg.dtype.name}"
    return numpy.asarray(arg)


_folder: list[Path] = []


def use_folder(folder: Path) -> None:
    """Set the directory of compiled files."""
    _folder[:] = [folder]


def _compile(target: Path, text: str, *flags: str) -> Path:
    if not target.exists():
        source = target.with_suffix(f".{os.getpid()}.cpp")
        source.write_text(text, encoding="utf-8")
        library = source.with_suffix(".so")
        done = subprocess.run(["g++", *FLAGS, *flags, str(source), "-o", str(library)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"g++ does not compile {source}:\n{done.stderr[:4000]}")
        library.replace(target)  # atomic: another process may create it at the same time
        source.unlink()
    return target


@cache
def _emulator_hash() -> str:
    parts = [path.read_bytes() for path in sorted(HERE.rglob("*.h")) + sorted(HERE.glob("*.cpp"))]
    return hashlib.sha256(b"".join(parts) + " ".join(FLAGS).encode()).hexdigest()


@cache
def compiled(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """Compile a CUDA source to a library, or load it from the directory of compiled files."""
    (folder,) = _folder
    fibers = folder / f"fibers-{_emulator_hash()[:16]}.so"
    _compile(fibers, (HERE / "fibers.cpp").read_text(encoding="utf-8"))
    ctypes.CDLL(str(fibers), mode=ctypes.RTLD_GLOBAL)  # the fibers are shared; other symbols are local to each library
    names = re.findall(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)', code)
    text = "\n".join([code, *[f"EMULATED({name})" for name in names]])
    key = hashlib.sha256("\n".join([text, *options, _emulator_hash()]).encode()).hexdigest()[:24]
    flags = ["-include", str(HERE / "emulator.h"), *[option for option in options if option.startswith("-D")]]
    if any("__nv_bfloat16" in option for option in options):  # other variants must not include its header
        flags.append(f"-I{HERE / 'include_cuda_12_2'}")
    return ctypes.CDLL(str(_compile(folder / f"kernel-{key}.so", text, *flags)))


class _State:
    order = 0
    launching = False  # whether reading values is an error
    capability = "90"
    launches: list[str] = []  # noqa: RUF012 - a single instance


state = _State()


def module() -> ModuleType:
    """The fake module, to replace cupy in ``sys.modules``."""
    fake = ModuleType("cupy")
    for value in (ndarray, empty, zeros, asarray, ascontiguousarray, RawModule):
        setattr(fake, value.__name__, value)
    fake.cuda = SimpleNamespace(runtime=SimpleNamespace(getDevice=lambda: 0))  # type: ignore[attr-defined]
    return fake
