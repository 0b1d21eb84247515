"""Where a Tensor lives."""

from __future__ import annotations

from typing import Any

from tinytorch.backend import Backend, get_backend


class Device:
    """A backend together with one of its devices, as ``Tensor.device`` gives it.

    ``tt.zeros(3, device=x.device)`` lands beside ``x``. Two are equal when Tensors on them can be combined.
    """

    __slots__ = ("backend",)

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.backend is self.backend

    def __hash__(self) -> int:
        return hash(self.backend)

    def __reduce__(self) -> tuple[Any, ...]:
        return _device_of, (self.backend.spec,)  # copies are equal, and pickles find the backend where they are loaded

    def __repr__(self) -> str:
        return f"Device({self.backend.spec!r})"

    def __str__(self) -> str:
        return self.backend.spec


def _device_of(spec: str) -> Device:
    """The other half of `Device.__reduce__`."""
    return Device(get_backend(spec))
