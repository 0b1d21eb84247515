"""Selection of the default backend: where new arrays are created if no ``device`` is passed.

It affects creation functions only. Every Tensor has a backend, and operations run on the backend of their operands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from tinytorch.backend.contract import Backend
from tinytorch.backend.errors import BackendUnavailableError, UnknownBackendError
from tinytorch.backend.registry import BackendSpec, get_backend

ENVIRONMENT_VARIABLE: Final = "TINYTORCH_BACKEND"
DEFAULT_BACKEND: Final = "numpy"

_chosen: ContextVar[Backend | None] = ContextVar("tinytorch_backend", default=None)
_process_default: Backend | None = None


@contextmanager
def use_backend(spec: BackendSpec) -> Iterator[Backend]:
    """Create new arrays on ``spec`` inside a ``with`` block, in this thread or asyncio task only; blocks can be nested.

    A thread started inside the block does not inherit the setting, unless it runs in ``contextvars.copy_context()``.

    Args:
        spec: as for `get_backend`.

    Yields:
        The backend.

    Raises:
        BackendError: as for `get_backend`, before the block is entered.

    Example:
        >>> with tt.use_backend("strict"):
        ...     tt.zeros(2)
        Tensor([0., 0.], dtype=float32, device='strict:cpu')
    """
    backend = get_backend(spec)
    token = _chosen.set(backend)
    try:
        yield backend
    finally:
        _chosen.reset(token)


def set_backend(spec: BackendSpec | None) -> None:
    """Create new arrays on ``spec`` in every thread of this process, outside `use_backend` blocks.

    Args:
        spec: as for `get_backend`; ``None`` restores the default.

    Raises:
        BackendError: as for `get_backend`; the previous setting then stays.

    Example:
        >>> tt.set_backend("numpy")
        >>> tt.zeros(2)
        Tensor([0., 0.], dtype=float32, device='numpy:cpu')
        >>> tt.set_backend(None)
    """
    global _process_default
    _process_default = None if spec is None else get_backend(spec)


def current_backend() -> Backend:
    """The backend for new arrays: set by `use_backend`, else by `set_backend`, else by ``TINYTORCH_BACKEND``, else numpy.

    The environment variable is read at each call, not at import.

    Raises:
        BackendError: the environment variable names a backend that is unknown or cannot run here.

    Example:
        >>> tt.current_backend()
        <Backend numpy:cpu>
    """
    chosen = _chosen.get() or _process_default
    if chosen is not None:
        return chosen
    wanted = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if not wanted:
        return get_backend(DEFAULT_BACKEND)
    try:
        return get_backend(wanted)
    except UnknownBackendError as error:
        raise UnknownBackendError(f"{ENVIRONMENT_VARIABLE}={wanted}: {error}") from error
    except BackendUnavailableError as error:
        # the user may not have set the variable, so the message names it
        hint = f"{error.hint}; or unset {ENVIRONMENT_VARIABLE}, which is set to {wanted!r}"
        raise BackendUnavailableError(wanted.partition(":")[0], error.reason, hint) from error
