"""Shared parts of the special functions: polynomials, checks, and calls from derivative rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tinytorch.array_api.data_types import dtype_name
from tinytorch.autograd.operation import Operation
from tinytorch.tensor import Tensor


def horner(x: Any, coefficients: Sequence[float]) -> Any:
    """The polynomial in x with these coefficients, the highest power first."""
    total = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total


def check_real_floating(xp: Any, name: str, x: Any) -> None:
    """Raise ``TypeError`` unless x, a raw array, has a real floating-point dtype."""
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(
            f"{name} expected a real floating-point Tensor, got {dtype_name(x.dtype)}; convert it with tinytorch.astype(x, 'float32')"
        )


def own_or_portable(xp: Any, name: str, portable: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """The function ``name`` of a plugin's namespace if it has one (the standard has none), otherwise the portable version."""
    return getattr(xp, name, None) or partial(portable, xp)


def call(operation: Operation[..., Any], xp: Any, *args: Any) -> Any:
    """Call an operation from a derivative rule, whose arrays are Tensors in higher derivatives and raw arrays otherwise."""
    return operation(*args) if any(isinstance(arg, Tensor) for arg in args) else operation.forward(xp, *args)
