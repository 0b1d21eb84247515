"""numpy's functions on Tensors: ``numpy.sum(x)`` runs on the values if no gradient is lost and x is on the host, and raises otherwise.

numpy calls these through ``__array_function__`` and ``__array_ufunc__``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinytorch.backend import BackendMismatchError
from tinytorch.hints import NAMESPACE
from tinytorch.tensor_methods.attributes import Attributes

#: The operators of numpy's arrays by ufunc: the method of the left and of the right operand.
OPERATORS = {
    "add": ("__add__", "__radd__"),
    "bitwise_and": ("__and__", "__rand__"),
    "bitwise_or": ("__or__", "__ror__"),
    "bitwise_xor": ("__xor__", "__rxor__"),
    "divide": ("__truediv__", "__rtruediv__"),
    "equal": ("__eq__", "__eq__"),
    "floor_divide": ("__floordiv__", "__rfloordiv__"),
    "greater": ("__gt__", "__lt__"),
    "greater_equal": ("__ge__", "__le__"),
    "left_shift": ("__lshift__", "__rlshift__"),
    "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"),
    "matmul": ("__matmul__", "__rmatmul__"),
    "multiply": ("__mul__", "__rmul__"),
    "not_equal": ("__ne__", "__ne__"),
    "power": ("__pow__", "__rpow__"),
    "remainder": ("__mod__", "__rmod__"),
    "right_shift": ("__rshift__", "__rrshift__"),
    "subtract": ("__sub__", "__rsub__"),
}

#: Functions that read no values, and so cannot lose a gradient.
METADATA = frozenset({"iscomplexobj", "isrealobj", "ndim", "result_type", "shape", "size"})


def call_ufunc(ufunc: Callable[..., Any], method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """``array * x`` calls the operator of the Tensor x, which keeps gradients; other ufuncs run on the values."""
    if ufunc.__name__ in OPERATORS and method == "__call__" and not kwargs and len(inputs) == 2:
        left, right = inputs
        forward, reflected = OPERATORS[ufunc.__name__]
        return getattr(left, forward)(right) if isinstance(left, Attributes) else getattr(right, reflected)(left)
    if method == "__call__":
        return call_numpy_function(ufunc, inputs, kwargs)
    return call_numpy_function(getattr(ufunc, method), inputs, kwargs, f"{ufunc.__name__}.{method}")


def call_numpy_function(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], name: str | None = None) -> Any:
    """Call a function of numpy with the values of the Tensors among its arguments.

    Raises:
        RuntimeError: a Tensor requires a gradient, which would be lost.
        BackendMismatchError: a Tensor is not on the host.
    """
    name = name or function.__name__

    def values(argument: Any) -> Any:
        if isinstance(argument, Attributes):
            if name not in METADATA:
                _check_readable(argument, name)
            return argument.backend.to_host(argument.raw)
        if isinstance(argument, list | tuple):
            return type(argument)([values(item) for item in argument])
        return argument

    return function(*[values(argument) for argument in args], **{key: values(argument) for key, argument in kwargs.items()})


def _check_readable(x: Attributes, name: str) -> None:
    ours = f"tinytorch.{name}(x)" if hasattr(x.backend.namespace, name) else NAMESPACE.get(name)
    instead = f"write {ours}, or " if ours else "write "
    if x.node is not None:
        raise RuntimeError(
            f"numpy.{name}(x), called directly or by a library such as matplotlib, would lose the gradient of x; "
            f"{instead}numpy.{name}(x.detach())"
        )
    if not x.backend.capabilities.host:
        raise BackendMismatchError(
            f"numpy.{name}(x) expected x on the host, but it is on {x.backend.spec}; {instead}numpy.{name}(x.numpy())"
        )
