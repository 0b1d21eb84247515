"""The strict backend: array-api-strict, which raises for everything that the Array API standard does not guarantee. Slow; for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_strict.backend import StrictBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> StrictBackend:
    """Create the strict backend.

    Args:
        device: ``"cpu"`` or ``None`` (the same), or one that imitates another library: ``"device1"`` (a second device like the first),
            ``"device2"`` (float32 is the default dtype, as in PyTorch), ``"no_float64"`` (as on Apple's GPUs), ``"no_x64"`` (as in JAX).

    Raises:
        BackendUnavailableError: if array-api-strict is not installed, or has no such device.
    """
    try:
        from tinytorch_strict.backend import StrictBackend
    except ModuleNotFoundError as error:
        if error.name != "array_api_strict":
            raise
        raise BackendUnavailableError("strict", "array-api-strict is not installed", "type `pip install array-api-strict`") from error
    return StrictBackend(device or "cpu")
