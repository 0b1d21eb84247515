"""The backend on which new arrays are made when nothing else says so.

The choice matters for creation only: every Tensor carries its backend, and operations follow their operands.
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
    """Make new arrays on ``spec`` inside a ``with`` block, in this thread or task alone; blocks nest.

    A thread started inside the block does not see the choice, unless it runs in ``contextvars.copy_context()``.

    Args:
        spec: as for `get_backend`.

    Yields:
        The backend.

    Raises:
        BackendError: as for `get_backend`, before the block is entered.
    """
    backend = get_backend(spec)
    token = _chosen.set(backend)
    try:
        yield backend
    finally:
        _chosen.reset(token)


def set_backend(spec: BackendSpec | None) -> None:
    """Make new arrays on ``spec`` in every thread of this process, outside `use_backend` blocks; ``None`` takes the choice back.

    Raises:
        BackendError: as for `get_backend`; the choice made before then stays.
    """
    global _process_default
    _process_default = None if spec is None else get_backend(spec)


def current_backend() -> Backend:
    """The backend for new arrays: of `use_backend`, else of `set_backend`, else named by ``TINYTORCH_BACKEND``, else numpy.

    Raises:
        BackendError: the environment names a backend that is unknown or cannot run here. It is read at each call, never at import.
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
        # whoever meets this may not have typed the name: say where it comes from
        hint = f"{error.hint}; or unset {ENVIRONMENT_VARIABLE}, which asks for {wanted!r}"
        raise BackendUnavailableError(wanted.partition(":")[0], error.reason, hint) from error
