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


def refuse_foreign_array(operation: str, value: object, spec: str) -> None:
    """Raise `BackendMismatchError` if ``value``, an operand beside a Tensor on ``spec``, is an array but no Tensor."""
    if not isinstance(value, type) and (hasattr(value, "__array__") or hasattr(value, "__array_namespace__")):
        raise BackendMismatchError(
            f"{operation}: got a {type(value).__module__}.{type(value).__name__} beside a Tensor on {spec}; "
            f"convert it first with tinytorch.asarray(x, device={spec!r})"
        )
