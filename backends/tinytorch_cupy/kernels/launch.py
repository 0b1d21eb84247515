"""How Python reaches the CUDA of this folder: a file is compiled once for each set of macros and each GPU, and then launched.

A launch goes to the current stream, waits for nothing and reads nothing, so that it can be captured in a CUDA graph. Nothing here imports
cupy when it is loaded: the sources can be listed, and compiled, on a machine without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy

from tinytorch.backend.contract import Array

FOLDER = Path(__file__).parent

#: What a data type is called in CUDA.
C_TYPES = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16", "int32": "int", "int64": "long long"}

FLOATS = ("float32", "float16", "bfloat16")
INTEGERS = ("int32", "int64")

Macros = dict[str, str | int]

SOURCES: dict[str, Source] = {}  #: every source by its file's name, for whoever wants to compile them all


def variants(**choices: Iterable[str | int]) -> list[Macros]:
    """All combinations of the values that macros can have."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


class Source:
    """One ``.cu`` file and the sets of macros that it is compiled with.

    Args:
        name: the file's name without its ending.
        variants: the macros' values in each variant; a data type stands for its name in CUDA.
        serves: whether a variant is what runs on GPUs of a compute capability, as in 75 for 7.5.
    """

    def __init__(
        self, name: str, variants: Sequence[Macros], serves: Callable[[Macros, int], bool] = lambda macros, capability: True
    ) -> None:
        self.name = name
        self.variants = variants
        self.serves = serves
        self._functions: dict[tuple[Any, ...], Any] = {}
        SOURCES[name] = self

    def text(self) -> str:
        """The file, with this folder's own headers in the place of their ``#include``: cupy's cache of compiled code goes by the text."""
        return _expanded(FOLDER / f"{self.name}.cu", set())

    @staticmethod
    def options(macros: Macros) -> tuple[str, ...]:
        """What the compiler is told for a variant."""
        defined: Macros = {**macros, "BFLOAT16": 1} if "bfloat16" in macros.values() else macros
        return ("-std=c++17", *[f"-D{name}={C_TYPES.get(str(value), value)}" for name, value in defined.items()])

    def launch(self, function: str, grid: tuple[int, ...], block: tuple[int, ...], *args: Any, **macros: str | int) -> None:
        """Run ``function`` on ``grid`` blocks of ``block`` threads.

        Args:
            args: arrays, of which the address is passed, without strides; ``None``, a null pointer; numpy's scalars, of the type that the
                function declares; or a numpy structure of one element, passed by value.
            macros: one of the variants.
        """
        import cupy

        key = (function, cupy.cuda.runtime.getDevice(), *macros.values())
        compiled = self._functions.get(key)
        if compiled is None:
            if macros not in self.variants:
                raise ValueError(f"{self.name}.cu has no variant {macros}")
            module = cupy.RawModule(code=self.text(), options=self.options(macros))
            compiled = self._functions[key] = module.get_function(function).kernel
        compiled(grid, block, tuple([numpy.uintp(0) if arg is None else arg for arg in args]))


def _expanded(path: Path, seen: set[Path]) -> str:
    seen.add(path)

    def replaced(found: re.Match[str]) -> str:
        header = FOLDER / found[1]
        return "" if header in seen else _expanded(header, seen)

    return re.sub(r'^#include "([^"]+)"$', replaced, path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def capability(array: Array) -> int:
    """The compute capability of the GPU that ``array`` is on: 75 for 7.5."""
    return int(array.device.compute_capability)  # cupy keeps it as text, and asks the driver once


def blocks(count: int, size: int) -> int:
    """How many blocks of ``size`` cover ``count``."""
    return -(-count // size)


def over(count: int, size: int = 256) -> tuple[tuple[int], tuple[int]]:
    """Grid and block for ``count`` pieces of work in a row, which a thread takes in strides where there are very many."""
    return (max(1, min(blocks(count, size), 1 << 16)),), (size,)


def int32s(*numbers: int) -> list[numpy.int32]:
    """Arguments for parameters of type ``int``."""
    return [numpy.int32(number) for number in numbers]


def takes(*arrays: Array) -> bool:
    """Whether the arrays are all of one type, float32, float16 or bfloat16."""
    types = {array.dtype.name for array in arrays}
    return len(types) == 1 and types.pop() in FLOATS


def contiguous(x: Array, dtype: Any = None) -> Array:
    """``x`` in C order and of a data type, its own by default; ``x`` itself where it is so."""
    if x.flags.c_contiguous and (dtype is None or x.dtype == dtype):
        return x
    import cupy

    return cupy.ascontiguousarray(x, dtype=dtype)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Memory from cupy's pool."""
    import cupy

    return cupy.empty(shape, dtype=dtype)
