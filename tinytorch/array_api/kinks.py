"""Points where a function has a first derivative by convention only, and therefore no second one."""

from __future__ import annotations

import math
from typing import Any

from tinytorch.autograd.operation import Saves, operation
from tinytorch.tensor import Tensor


def kinked(xp: Any, slope: Any, x: Any, at: Any) -> Any:
    """``slope``, a derivative by x that a rule takes by convention where ``at`` holds, as 0 at a norm's zero vector, say.

    First derivatives keep to the convention: raw arrays are returned as they are. Where the rule is itself differentiated, it runs on
    Tensors, and a constant in place of the derivative would have the derivative 0, a wrong one: there that of ``slope`` by x is NaN.

    Args:
        slope: what the rule multiplies the gradient with; it must not depend on that gradient.
        x: the operand, or what is computed from it; broadcasts to ``slope``.
        at: boolean, broadcasts to ``slope``.
    """
    return _kinked(slope, x, at) if isinstance(slope, Tensor) and isinstance(x, Tensor) else slope


@operation(saves=Saves.OTHERS)
def _kinked(xp: Any, slope: Tensor, x: Tensor, at: Tensor, /) -> Tensor:
    return slope


def _nan_rule(xp: Any, g: Any, out: Any, slope: Any, x: Any, at: Any) -> Any:
    """NaN times g at the kinks, and 0 elsewhere; so is its derivative by g, which forward mode takes."""
    ones = xp.ones_like(g)
    return xp.where(at, g * xp.where(at, ones * math.nan, ones), xp.zeros_like(g))


_kinked.derivatives(slope=lambda xp, g, out, slope, x, at: g, x=_nan_rule)
