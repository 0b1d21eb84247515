"""Whether operations are recorded in the graph: `no_grad` and `enable_grad`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_enabled: ContextVar[bool] = ContextVar("tinytorch_grad_enabled", default=True)
_outer: ContextVar[tuple[bool, ...]] = ContextVar("tinytorch_grad_enabled_outer", default=())  # modes to restore at the end of blocks

#: Whether operations are recorded now, in this thread and context.
is_grad_enabled: Callable[[], bool] = _enabled.get


class GradMode:
    """Turn recording on or off, as a context manager or a decorator. Created by `no_grad` and `enable_grad`."""

    def __init__(self, enabled: bool) -> None:
        self._mode = enabled

    def __enter__(self) -> None:
        _outer.set((*_outer.get(), _enabled.get()))  # not stored on this object, which threads may share
        _enabled.set(self._mode)

    def __exit__(self, *exc_info: object) -> None:
        *rest, before = _outer.get()
        _outer.set(tuple(rest))
        _enabled.set(before)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            name = "enable_grad" if self._mode else "no_grad"
            raise TypeError(
                f"{name}() cannot decorate a generator or coroutine; use `with tinytorch.{name}():` inside it, not across a yield"
            )

        @wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            with GradMode(self._mode):
                return function(*args, **kwargs)

        return wrapped


def no_grad() -> GradMode:
    """Disable gradient recording in a ``with`` block or a decorated function, in this thread only.

    Raises:
        TypeError: it decorates a generator or coroutine function.

    Example:
        >>> x = tt.Tensor([1.0], requires_grad=True)
        >>> with tt.no_grad():
        ...     (2 * x).requires_grad
        False
    """
    return GradMode(False)


def enable_grad() -> GradMode:
    """Enable gradient recording inside a `no_grad` block, in a ``with`` block or a decorated function.

    Raises:
        TypeError: it decorates a generator or coroutine function.

    Example:
        >>> x = tt.Tensor([1.0], requires_grad=True)
        >>> with tt.no_grad(), tt.enable_grad():
        ...     (2 * x).requires_grad
        True
    """
    return GradMode(True)
