"""The numpy backend: arrays in host memory. It is the default backend and runs everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_numpy.backend import NumpyBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> NumpyBackend:
    """Create the numpy backend.

    Args:
        device: ``"cpu"`` or ``None``, which mean the same.

    Raises:
        BackendUnavailableError: if ``device`` is another device, or array-api-compat is not installed.
    """
    if device not in (None, "cpu"):
        raise BackendUnavailableError("numpy", f"it has no device {device!r}, only 'cpu'", "type 'numpy', or 'cupy' for a CUDA GPU")
    try:
        from tinytorch_numpy.backend import NumpyBackend  # imports array_api_compat.numpy, which takes 90 ms
    except ModuleNotFoundError as error:
        if error.name != "array_api_compat":
            raise
        raise BackendUnavailableError("numpy", "array-api-compat is not installed", "type `pip install array-api-compat`") from error
    return NumpyBackend()
