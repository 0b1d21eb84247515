"""Conjugate transposes, and the two conventions of complex gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytorch.array_api.arithmetic import conjugate


def adjoint(xp: Any, x: Any) -> Any:
    """The conjugate transpose of each matrix."""
    return conjugate(xp, xp.matrix_transpose(x))


def conjugated(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule for our gradients from one that is written, as in most papers, for their complex conjugates. Real ones are the same."""

    def converted(xp: Any, g: Any, out: Any, x: Any, **static: Any) -> Any:
        other = {i: conjugate(xp, part) for i, part in g.items()} if isinstance(g, dict) else conjugate(xp, g)
        return conjugate(xp, rule(xp, other, out, x, **static))

    return converted
