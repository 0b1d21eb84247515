"""The numpy backend: arrays in the host's memory. It is the default, and runs everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_numpy.backend import NumpyBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> NumpyBackend:
    """The numpy backend.

    Args:
        device: ``"cpu"`` or ``None``, which mean the same.

    Raises:
        BackendUnavailableError: another device was asked for, or array-api-compat is missing.
    """
    if device not in (None, "cpu"):
        raise BackendUnavailableError("numpy", f"it has no device {device!r}, only 'cpu'", "type 'numpy', or 'cupy' for a CUDA GPU")
    try:
        from tinytorch_numpy.backend import NumpyBackend  # loads array_api_compat.numpy, which costs 90 ms
    except ModuleNotFoundError as error:
        if error.name != "array_api_compat":
            raise
        raise BackendUnavailableError("numpy", "array-api-compat is not installed", "type `pip install array-api-compat`") from error
    return NumpyBackend()
