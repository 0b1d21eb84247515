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
_outer: ContextVar[tuple[bool, ...]] = ContextVar("tinytorch_grad_enabled_outer", default=())  # the mode around each open block

#: Whether operations are recorded now, in this thread and context.
is_grad_enabled: Callable[[], bool] = _enabled.get


class GradMode:
    """Turns recording on or off, as a context manager or as a decorator. Made by `no_grad` and `enable_grad`."""

    def __init__(self, enabled: bool) -> None:
        self._mode = enabled

    def __enter__(self) -> None:
        _outer.set((*_outer.get(), _enabled.get()))  # not on this object, which threads may share
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
    """Record nothing inside: ``with tt.no_grad(): ...``, or ``@tt.no_grad()`` above a function."""
    return GradMode(False)


def enable_grad() -> GradMode:
    """Record again inside a `no_grad` block."""
    return GradMode(True)
