"""Conjugate transposes, and conversion between the two conventions for complex gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytorch.array_api.complex_numbers import conjugate


def adjoint(xp: Any, x: Any) -> Any:
    """Conjugate transpose of each matrix."""
    return conjugate(xp, xp.matrix_transpose(x))


def conjugate_convention(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Convert a rule in the convention of PyTorch and most papers (``d/dx + i d/dy``) to that of tinytorch and JAX (``d/dx - i d/dy``).

    One gradient is the conjugate of the other. For real matrices both conventions agree.
    """

    def converted(xp: Any, g: Any, out: Any, x: Any, **static: Any) -> Any:
        other = {i: conjugate(xp, part) for i, part in g.items()} if isinstance(g, dict) else conjugate(xp, g)
        return conjugate(xp, rule(xp, other, out, x, **static))

    return converted
