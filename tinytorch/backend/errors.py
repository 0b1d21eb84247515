"""Errors about backends. Each kind of problem has its own class, and each message says how to fix it."""

from __future__ import annotations

from typing import NoReturn


class BackendError(RuntimeError):
    """Base class of errors about selecting, loading or mixing backends."""


class UnknownBackendError(BackendError):
    """No backend with this name is registered."""


class BackendUnavailableError(BackendError):
    """The backend is registered, but cannot run on this machine.

    Attributes:
        reason: what is missing, as a clause ("cupy is not installed").
        hint: how to fix it, such as a command to type.
    """

    def __init__(self, name: str, reason: str, hint: str) -> None:
        super().__init__(f"the {name} backend cannot run here: {reason}; {hint}")
        self.reason = reason
        self.hint = hint


class BackendMismatchError(BackendError, TypeError):
    """The operands of an operation are on different backends or devices."""


def reject_foreign_array(operation: str, value: object, spec: str) -> None:
    """Raise `BackendMismatchError` if ``value``, used together with a Tensor on ``spec``, is an array but not a Tensor."""
    if not isinstance(value, type) and (hasattr(value, "__array__") or hasattr(value, "__array_namespace__")):
        reject_host_input(operation, value, spec)


def reject_host_input(operation: str, value: object, spec: str) -> NoReturn:
    """Raise `BackendMismatchError` for a value that ``operation`` got in place of a Tensor on ``spec``."""
    raise BackendMismatchError(
        f"{operation} expected Tensors on {spec}, got {type(value).__module__}.{type(value).__name__}; "
        f"convert it first with tinytorch.asarray(x, device={spec!r})"
    )
