"""Moving the parameters and buffers of a module to another device or dtype, and resetting gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tinytorch.array_api import astype, isdtype, zeros_like
from tinytorch.array_api.data_types import dtype_name
from tinytorch.backend import DType
from tinytorch.tensor import Tensor


def moved_tensors(tensors: Sequence[Tensor], device: Any, dtype: Any) -> list[Tensor]:
    """Copies on a device, with the floating-point ones converted to a dtype; see `tinytorch.nn.Module.to`."""
    if isinstance(device, DType):
        if dtype is not None:
            raise TypeError("to() got two dtypes; pass to(device, dtype) or to(dtype)")
        device, dtype = None, device
    name = None if dtype is None else dtype_name(dtype)
    if name is not None and not isdtype(name, "real floating"):
        raise TypeError(f"to() converts parameters to a real floating-point dtype, got {name}")
    moved = [tensor.detach() if device is None else tensor.detach().to(device) for tensor in tensors]
    if name is None:
        return moved
    return [astype(tensor, name, copy=False) if tensor.dtype.kind == "real floating" else tensor for tensor in moved]


def reset_gradients(parameters: Iterable[Tensor], set_to_none: bool) -> None:
    """Set ``.grad`` to ``None``, or to zeros where there is a gradient."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = None if set_to_none else zeros_like(parameter.grad)
