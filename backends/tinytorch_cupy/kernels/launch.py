"""Compile and launch the CUDA sources of this directory. Each file is compiled once for each variant (a set of macro values) and each GPU.

A launch goes to the current stream and does not synchronize, so that it can be captured in a CUDA graph. This module does not import cupy
at module level: the sources can be listed and compiled without cupy.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy

from tinytorch.backend.contract import Array, Kernel

_log: Final = logging.getLogger("tinytorch")

DIRECTORY = Path(__file__).parent

#: CUDA types by dtype.
C_TYPES = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16", "int32": "int", "int64": "long long"}

FLOATS = ("float32", "float16", "bfloat16")
INTEGERS = ("int32", "int64")

Macros = dict[str, str | int]

SOURCES: dict[str, Source] = {}  #: every source by the name of its file, for tools that compile all of them


def variants(**choices: Iterable[str | int]) -> list[Macros]:
    """All combinations of the macros' values."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


class KernelUnavailable(Exception):
    """A variant of a source cannot be compiled or loaded on this GPU. ``str(error)`` is the reason, on one line."""


class Source:
    """A ``.cu`` file and its variants: the sets of macro values with which it is compiled.

    Args:
        name: name of the file, without the suffix.
        variants: values of the macros in each variant. A dtype is replaced by its CUDA type.
        runs_on: whether GPUs of a compute capability (75 is 7.5) use a variant.
    """

    def __init__(
        self, name: str, variants: Sequence[Macros], runs_on: Callable[[Macros, int], bool] = lambda macros, capability: True
    ) -> None:
        self.name = name
        self.variants = variants
        self.runs_on = runs_on
        self._functions: dict[tuple[Any, ...], Any] = {}  # by name, GPU and variant
        self._modules: dict[tuple[Any, ...], Any] = {}  # by GPU and variant
        self._failures: dict[tuple[Any, ...], str] = {}  # why modules cannot be loaded; not the errors, which reference arrays
        SOURCES[name] = self

    def text(self) -> str:
        """The source with the headers of this directory inlined, because cupy's cache of compiled code depends on the text only."""
        return _inline_headers(DIRECTORY / f"{self.name}.cu", set())

    @staticmethod
    def options(macros: Macros) -> tuple[str, ...]:
        """Compiler options of a variant."""
        definitions: Macros = {**macros, "BFLOAT16": 1} if "bfloat16" in macros.values() else macros
        return ("-std=c++17", *[f"-D{name}={C_TYPES.get(str(value), value)}" for name, value in definitions.items()])

    def launch(self, function: str, grid: tuple[int, ...], block: tuple[int, ...], *args: Any, **macros: str | int) -> None:
        """Run ``function`` on ``grid`` blocks of ``block`` threads.

        Args:
            args: arrays, passed by address, without strides; ``None``, passed as a null pointer; numpy scalars of the declared types; or
                numpy structured arrays of one element, passed by value.
            macros: one of the variants.

        Raises:
            KernelUnavailable: if the variant cannot be compiled or loaded. All functions of a variant are compiled and loaded together.
        """
        import cupy

        key = (function, cupy.cuda.runtime.getDevice(), *macros.values())
        compiled = self._functions.get(key)
        if compiled is None:
            compiled = self._functions[key] = self._load(function, key[1:], macros)
        compiled(grid, block, tuple([numpy.uintp(0) if arg is None else arg for arg in args]))

    def _load(self, function: str, key: tuple[Any, ...], macros: Macros) -> Any:
        """Compile and load a variant, at its first use on a GPU, and return one of its functions."""
        import cupy

        if macros not in self.variants:
            raise ValueError(f"{self.name}.cu has no variant {macros}")
        if key in self._failures:  # compiling takes seconds, so it is not tried at every call
            raise KernelUnavailable(self._failures[key])
        code = self.text()
        try:
            if key not in self._modules:
                self._modules[key] = cupy.RawModule(code=code, options=self.options(macros))
            return self._modules[key].get_function(function).kernel  # cupy compiles and loads the module here
        except Exception as error:  # of NVRTC, the driver, or a missing header or library: cupy has no common class for them
            if isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error):  # it may work later
                raise
            self._failures[key] = f"{self.name}.cu: {_first_line(error)}"
            raise KernelUnavailable(self._failures[key]) from error


def with_fallback(name: str, kernel: Kernel) -> Kernel:
    """``kernel``, which returns ``NotImplemented`` if its CUDA code cannot be compiled or loaded; the reason is logged once."""
    logged = False

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def guard(*args: Any, **settings: Any) -> Any:
            nonlocal logged
            try:
                return function(*args, **settings)
            except KernelUnavailable as error:
                if not logged:
                    logged = True
                    _log.warning(
                        "the CUDA kernel %s cannot be compiled or loaded (%s); the portable version runs instead, which is slower. "
                        "Please report this to the developers of tinytorch, with the output of `tinytorch backends`.",
                        name,
                        error,
                    )
                return NotImplemented

        return guard

    return Kernel(guarded(kernel.forward), None if kernel.backward is None else guarded(kernel.backward))


def _first_line(error: BaseException) -> str:
    """Class and message of an error; of a compiler's message the first error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {next((line for line in lines if ' error: ' in line or ': error' in line), lines[0])}"[:300]


def _inline_headers(path: Path, seen: set[Path]) -> str:
    seen.add(path)

    def header_text(match: re.Match[str]) -> str:
        header = DIRECTORY / match[1]
        return "" if header in seen else _inline_headers(header, seen)

    return re.sub(r'^#include "([^"]+)"$', header_text, path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def capability(array: Array) -> int:
    """Compute capability of the GPU of ``array``; 75 is 7.5."""
    return int(array.device.compute_capability)  # cupy caches it, as text


def blocks(count: int, size: int) -> int:
    """Number of blocks of ``size`` that cover ``count``: the quotient, rounded up."""
    return -(-count // size)


def grid_stride(count: int, size: int = 256) -> tuple[tuple[int], tuple[int]]:
    """Grid and block for a grid-stride loop over ``count`` items."""
    return (max(1, min(blocks(count, size), 1 << 16)),), (size,)


def int32s(*numbers: int) -> list[numpy.int32]:
    """Arguments for parameters of type ``int``."""
    return [numpy.int32(number) for number in numbers]


def supports(*arrays: Array) -> bool:
    """Whether all arrays have the same dtype, float32, float16 or bfloat16."""
    types = {array.dtype.name for array in arrays}
    return len(types) == 1 and types.pop() in FLOATS


def contiguous(x: Array, dtype: Any = None) -> Array:
    """``x`` in C order and converted to ``dtype``, if given. Returns ``x`` itself if nothing changes."""
    if x.flags.c_contiguous and (dtype is None or x.dtype == dtype):
        return x
    import cupy

    return cupy.ascontiguousarray(x, dtype=dtype)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialized array, from cupy's memory pool."""
    import cupy

    return cupy.empty(shape, dtype=dtype)
