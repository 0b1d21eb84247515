"""What every known backend has to say for itself, for reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from tinytorch.backend.contract import MemoryInfo
from tinytorch.backend.errors import BackendUnavailableError
from tinytorch.backend.registry import get_backend, known_backends


@dataclass(frozen=True)
class BackendStatus:
    """One row of `backend_status`; ``dataclasses.asdict`` makes it plain data that JSON can hold.

    Attributes:
        name: the backend's name.
        ready: whether it can be used here.
        device: its default device, where it is ready.
        reason: what is wrong, where it is not.
        hint: what to type or click to mend that.
        memory: of the default device, in bytes, where the backend can tell.
        versions: of the libraries behind it, by name.
    """

    name: str
    ready: bool
    device: str | None = None
    reason: str | None = None
    hint: str | None = None
    memory: MemoryInfo | None = None
    versions: dict[str, str] = field(default_factory=dict)


def backend_status() -> list[BackendStatus]:
    """Try every known backend and report on each; never raises for a broken one."""
    return [_probe(name) for name in known_backends()]


def _probe(name: str) -> BackendStatus:
    try:
        backend = get_backend(name)
        return BackendStatus(name, ready=True, device=backend.device, memory=backend.memory_info(), versions=backend.versions())
    except BackendUnavailableError as error:
        return BackendStatus(name, ready=False, reason=error.reason, hint=error.hint)
    except Exception as error:  # a plugin's own fault must not hide the state of the others
        reason = f"its plugin failed with {type(error).__name__}: {error}".strip()
        return BackendStatus(name, ready=False, reason=reason, hint="report this to the authors of the plugin")
