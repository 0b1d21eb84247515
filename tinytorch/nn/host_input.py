"""Host input of modules: NumPy arrays, lists and Python numbers in place of Tensors in a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinytorch.array_api import asarray, astype
from tinytorch.backend import DType
from tinytorch.backend.device import Device
from tinytorch.backend.host import HOST_ARRAYS, as_host_array, is_host_array
from tinytorch.tensor import Tensor

if TYPE_CHECKING:
    from tinytorch.nn.module import Module

_ARRAYS = frozenset(HOST_ARRAYS)
_LISTS = frozenset({list, tuple})
_NUMBERS = frozenset({bool, int, float, complex})

#: Types of arguments for which a call of a module looks for host input. Not integers and booleans, which are mostly settings.
HOST_INPUT_TYPES = _ARRAYS | _LISTS | {float, complex}


def convert_call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call, with host input as Tensors: NumPy arrays, and lists and numbers that are data.

    Lists are data in the first ``module.data_arguments`` arguments and, if there are such, as keyword arguments.
    """
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    like = next((tensor for tensor in tensors if tensor.dtype.is_floating), tensors[0] if tensors else None)
    data = module.data_arguments

    def convert(value: Any, is_data: bool) -> Any:
        kind = type(value)
        if kind not in _ARRAYS and not (is_data and (kind in _NUMBERS or (kind in _LISTS and _is_numeric(value)))):
            return value
        tensor = module.prepare_input(value, None if like is None else like.device)
        if like is None or module.dtype is not None or not (tensor.dtype.is_floating and like.dtype.is_floating):
            return tensor
        return astype(tensor, like.dtype, copy=False)  # a module without parameters: in the dtype of the other arguments

    converted = [convert(arg, i < data) for i, arg in enumerate(args)]
    return tuple(converted), {name: convert(value, data > 0 and type(value) in _LISTS) for name, value in kwargs.items()}


def input_tensor(value: Any, device: Device | None, dtype: DType | None) -> Tensor:
    """Host input as a Tensor; floating-point numbers, and integers in lists, in this dtype if there is one."""
    if dtype is None:
        return asarray(value, device=device)
    array = as_host_array(value)
    convertible = "f" if is_host_array(value) else "iuf"
    return asarray(array if is_host_array(value) else value, dtype=dtype if array.dtype.kind in convertible else None, device=device)


def _is_numeric(value: Any) -> bool:
    """Whether a list is data: its nested lists contain numbers and arrays only."""
    return all(_is_numeric(item) if type(item) in _LISTS else type(item) in _NUMBERS or hasattr(item, "__array__") for item in value)
