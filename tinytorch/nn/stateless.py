"""Calling a module as a pure function of its parameters and buffers, as ``torch.func.functional_call`` does."""

from __future__ import annotations

from typing import Any

from tinytorch.nn.binding import bind
from tinytorch.nn.module import Module, own_value
from tinytorch.tensor import Tensor


def functional_call(module: Module, state: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """Call a module with other values for its parameters and buffers.

    The module itself is not changed. A buffer that the call updates, such as running statistics, is updated in ``state``.

    Args:
        module: the module to call.
        state: values by dotted name. The module's own values are used for names that are missing.
        *args, **kwargs: arguments of the call.

    Returns:
        The result of the call.

    Raises:
        KeyError: the module has no parameter or buffer of a name in ``state``.
        TypeError: a value is not a Tensor.
        ValueError: a value has a shape other than the module's own.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> nn.functional_call(layer, {"weight": tt.ones((1, 2))}, tt.asarray([[3.0, 4.0]]))
        Tensor([[7.]], dtype=float32, device='numpy:cpu')
    """
    slots = module.slots()
    unknown = [name for name in state if name not in slots]
    if unknown:
        raise KeyError(f"{type(module).__name__} has no parameter or buffer named {', '.join(unknown)}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a Tensor, got {type(value).__name__}; convert it with tinytorch.asarray")
        if value.shape != own_value(slots[name]).shape:
            raise ValueError(f"{name} must have shape {tuple(own_value(slots[name]).shape)}, got {tuple(value.shape)}")
    with bind([slots[name] for name in state], list(state.values())) as bound:
        result = module(*args, **kwargs)
        state.update({name: bound[slots[name]] for name in state})
    return result
