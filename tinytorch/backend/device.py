"""The device of a Tensor."""

from __future__ import annotations

from typing import Any

from tinytorch.backend import Backend, get_backend


class Device:
    """A backend and one of its devices, as returned by ``Tensor.device``.

    ``tt.zeros(3, device=x.device)`` is created on the device of ``x``. Two devices are equal if their backend is the same object.
    """

    __slots__ = ("backend",)

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.backend is self.backend

    def __hash__(self) -> int:
        return hash(self.backend)

    def __reduce__(self) -> tuple[Any, ...]:
        return _device_of, (self.backend.spec,)  # a copy is equal; a loaded pickle looks the backend up by name

    def __repr__(self) -> str:
        return f"Device({self.backend.spec!r})"

    def __str__(self) -> str:
        return self.backend.spec


def _device_of(spec: str) -> Device:
    """Reconstruct a pickled `Device`."""
    return Device(get_backend(spec))
