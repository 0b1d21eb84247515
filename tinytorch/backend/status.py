"""A report on all known backends."""

from __future__ import annotations

from dataclasses import dataclass, field

from tinytorch.backend.contract import MemoryInfo
from tinytorch.backend.errors import BackendUnavailableError
from tinytorch.backend.registry import get_backend, known_backends


@dataclass(frozen=True)
class BackendStatus:
    """One row of `backend_status`; ``dataclasses.asdict`` converts it to a dictionary that can be serialized as JSON.

    Attributes:
        name: the backend's name.
        ready: whether it can run here.
        device: its default device, if it is ready.
        reason: why it cannot run, if it is not ready.
        hint: how to fix that, if it is not ready.
        memory: memory of the default device, if the backend reports it.
        versions: versions of the libraries that it uses, by name.

    Example:
        >>> from tinytorch.backend import BackendStatus
        >>> BackendStatus("mine", ready=False, reason="there is no GPU", hint="use a machine with a GPU").reason
        'there is no GPU'
    """

    name: str
    ready: bool
    device: str | None = None
    reason: str | None = None
    hint: str | None = None
    memory: MemoryInfo | None = None
    versions: dict[str, str] = field(default_factory=dict)


def backend_status() -> list[BackendStatus]:
    """Try to create every known backend and report on each; a broken backend is reported, not raised.

    Example:
        >>> from tinytorch.backend import backend_status
        >>> [status.device for status in backend_status() if status.name == "numpy"]
        ['cpu']
    """
    return [_probe(name) for name in known_backends()]


def _probe(name: str) -> BackendStatus:
    try:
        backend = get_backend(name)
        return BackendStatus(name, ready=True, device=backend.device, memory=backend.memory_info(), versions=backend.versions())
    except BackendUnavailableError as error:
        return BackendStatus(name, ready=False, reason=error.reason, hint=error.hint)
    except Exception as error:  # an error in one plugin must not hide the others
        reason = f"its plugin failed with {type(error).__name__}: {error}".strip()
        return BackendStatus(name, ready=False, reason=reason, hint="report this to the authors of the plugin")
