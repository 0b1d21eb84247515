"""The decorator that compiles the loops of this package. Importing it imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba


def loop(*allowed: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for the argument types of its first call. It runs without the GIL; the machine code is cached on disk if possible.

    ``allowed`` lists LLVM's fast-math flags: "contract" fuses a multiplication and an addition, "reassoc" and "nsz" allow sums in any
    order, and so vectorized ones. Flags that assume that there is no NaN or infinity must not be used.

    numba compiles a function again if its own file has changed, but not if the file of a function that it calls has: remove
    ``__pycache__`` in that case.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {"nogil": True, "fastmath": set(allowed), "error_model": "numpy"}
        try:
            return cast("Callable[..., Any]", numba.njit(cache=True, **options)(function))
        except RuntimeError:  # neither this directory nor the user's cache is writable
            return cast("Callable[..., Any]", numba.njit(**options)(function))

    return compiled
