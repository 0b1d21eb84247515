"""What can be wrong with a backend, told apart so that each error can name its own mend."""

from __future__ import annotations


class BackendError(RuntimeError):
    """Base of every error about choosing, loading or mixing backends."""


class UnknownBackendError(BackendError):
    """No backend of that name is registered."""


class BackendUnavailableError(BackendError):
    """The backend is known, but cannot run on this machine.

    Attributes:
        reason: what is missing, half a sentence ("cupy is not installed").
        hint: what to type or click to mend it.
    """

    def __init__(self, name: str, reason: str, hint: str) -> None:
        super().__init__(f"the {name} backend cannot run here: {reason}; {hint}")
        self.reason = reason
        self.hint = hint


class BackendMismatchError(BackendError, TypeError):
    """An operation was given operands of two backends, or of two devices."""
