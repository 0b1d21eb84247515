"""The jax backend: JAX arrays, and training steps compiled by XLA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.backend.errors import BackendUnavailableError

if TYPE_CHECKING:
    from tinytorch_jax.backend import JaxBackend

__all__ = ["create_backend"]


def create_backend(device: str | None = None) -> JaxBackend:
    """Create the jax backend on one device.

    By default JAX has no 64-bit dtypes, and the default integer dtype is int32. To enable them, set ``JAX_ENABLE_X64=1`` or call
    ``jax.config.update("jax_enable_x64", True)`` before JAX is first used.

    Args:
        device: a platform (``"cpu"``, ``"gpu"``, ``"tpu"``) or a platform and a number (``"gpu:1"``); ``None`` for JAX's default device.

    Raises:
        BackendUnavailableError: if JAX is not installed, or has no such device.
    """
    try:
        import jax
    except ModuleNotFoundError as error:
        if error.name not in ("jax", "jaxlib"):
            raise
        raise BackendUnavailableError("jax", "JAX is not installed", "type `pip install jax`") from error
    from tinytorch_jax.backend import JaxBackend

    platform, _, number = (device or "").partition(":")
    try:
        found = jax.devices(platform or None)
        return JaxBackend(found[int(number or 0)])
    except (RuntimeError, ValueError, IndexError) as error:
        hint = f"its default device is {jax.devices()[0].platform}; type 'jax' to use it"
        raise BackendUnavailableError("jax", f"JAX has no device {device!r}", hint) from error
