"""The cupy backend: arrays on a CUDA GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_cupy.backend import CupyBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> CupyBackend:
    """Create the cupy backend on one GPU.

    Args:
        device: the number of the GPU as text; ``None`` is ``"0"``.

    Raises:
        BackendUnavailableError: if cupy, the driver, the GPU or a CUDA library is missing; the message names it and how to fix it.
    """
    from tinytorch_cupy.diagnosis import checked_cupy

    cupy, number = checked_cupy(device)
    try:
        import array_api_compat.cupy as xp
    except ModuleNotFoundError as error:
        if error.name != "array_api_compat":
            raise
        raise BackendUnavailableError("cupy", "array-api-compat is not installed", "type `pip install array-api-compat`") from error
    from tinytorch_cupy.backend import CupyBackend
    from tinytorch_cupy.self_check import check_on_first_use

    backend = CupyBackend(cupy, xp, number)
    check_on_first_use(backend)
    return backend
