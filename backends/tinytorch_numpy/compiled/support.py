"""How the loops of this folder are compiled. Whoever imports it loads numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba


def loop(*allowed: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for the types of its first call, to run without Python's lock; the code is kept on disk where there is room.

    ``allowed`` is what LLVM may do to floating-point arithmetic: "contract" rounds a product and a sum once, "reassoc" and "nsz" let
    it add in any order, and so many at a time. Nothing that would take NaN and infinity for something else is ever allowed.

    numba compiles a function again when its file has changed, but not when another file has whose function it calls: remove
    ``__pycache__`` then.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {"nogil": True, "fastmath": set(allowed), "error_model": "numpy"}
        try:
            return cast("Callable[..., Any]", numba.njit(cache=True, **options)(function))
        except RuntimeError:  # it may write neither beside this file nor into the user's cache
            return cast("Callable[..., Any]", numba.njit(**options)(function))

    return compiled
