"""The `Backend` for numpy."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import array_api_compat.numpy
import numpy

from tinytorch.backend.contract import Array, Backend, Capabilities, MemoryInfo
from tinytorch.backend.dtypes import DTYPES
from tinytorch.backend.library_namespace import LibraryNamespace
from tinytorch_numpy import threads
from tinytorch_numpy.kernels import KERNELS
from tinytorch_numpy.namespace import OVERRIDES

#: A shard has at least this many loss terms. With fewer, numpy calls and the sum of all gradients cost more than a thread saves.
_MIN_TERMS = 256

#: Below this product of loss terms and parameters, a step is faster in one thread.
_MIN_WORK = 1 << 21


class NumpyBackend(Backend):
    """numpy on the host. An array of this backend is a plain `numpy.ndarray`, or the numpy scalar that a reduction to 0-d returns."""

    def __init__(self) -> None:
        capabilities = Capabilities(dtypes=frozenset(DTYPES) - {"bfloat16"}, host=True)
        xp = LibraryNamespace(array_api_compat.numpy, None, OVERRIDES)
        super().__init__(name="numpy", device="cpu", xp=xp, capabilities=capabilities, kernels=KERNELS)

    def owns(self, array: object) -> bool:
        # no subclasses: masked arrays and matrices do not follow the standard
        return type(array) is numpy.ndarray or isinstance(array, numpy.generic)

    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        return numpy.array(array, dtype=self.dtype(dtype or array.dtype.name), order="C", copy=True)

    def to_host(self, array: Array) -> numpy.ndarray:
        view = numpy.asarray(array).view()  # a new view: the caller's array stays writable
        view.setflags(write=False)
        return cast("numpy.ndarray[Any, Any]", view)

    def memory_info(self) -> MemoryInfo | None:
        """Resident memory of this process and total memory of the host; ``None`` without ``/proc`` (macOS, Windows)."""
        try:
            resident = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
            page = os.sysconf("SC_PAGE_SIZE")
            return MemoryInfo(used=resident * page, total=os.sysconf("SC_PHYS_PAGES") * page)
        except (OSError, ValueError, AttributeError):
            return None

    def tune(self) -> list[str]:
        from tinytorch_numpy import tuning  # reads files of the system: imported only when needed

        compiled, message = tuning.use_numba()
        self.kernels = {**self.kernels, **compiled}
        return [*tuning.tune(), *([message] if message else [])]

    def shard_count(self, terms: int, parameters: int) -> int:
        """One shard per thread, if every shard has enough loss terms and the step is large enough."""
        count = threads.count()
        return count if terms // count >= _MIN_TERMS and terms * parameters >= _MIN_WORK else 1

    def parallel(self, thunks: Sequence[Callable[[], Any]]) -> list[Any]:
        return threads.run(thunks)

    def versions(self) -> dict[str, str]:
        return {"numpy": numpy.__version__}
