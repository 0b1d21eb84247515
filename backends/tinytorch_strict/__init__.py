"""The strict backend: array-api-strict, which refuses whatever the standard does not promise. For tests; it is slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_strict.backend import StrictBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> StrictBackend:
    """The strict backend.

    Args:
        device: ``"cpu"`` or ``None`` (the same), or one that imitates another library: ``"device1"`` (a second device like the first),
            ``"device2"`` (float32 is the default, as in PyTorch), ``"no_float64"`` (as Apple's GPUs), ``"no_x64"`` (as JAX).

    Raises:
        BackendUnavailableError: array-api-strict is missing, or has no such device.
    """
    try:
        from tinytorch_strict.backend import StrictBackend
    except ModuleNotFoundError as error:
        if error.name != "array_api_strict":
            raise
        raise BackendUnavailableError("strict", "array-api-strict is not installed", "type `pip install array-api-strict`") from error
    return StrictBackend(device or "cpu")
