"""Modules as functions of their parameters and buffers."""

from __future__ import annotations

from typing import Any

from tinytorch.nn.binding import bind
from tinytorch.nn.module import Module, own_value
from tinytorch.tensor import Tensor


def functional_call(module: Module, state: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """Call ``module`` with the parameters and buffers in ``state``, by dotted name, in place of its own; those left out stay.

    A buffer in ``state`` that the call updates (running statistics) is updated there, and the module is not changed.

    Raises:
        KeyError: the module has no parameter or buffer of a name.
        TypeError: a value is not a Tensor.
        ValueError: a value has another shape than the module's own.
    """
    slots = module.slots()
    unknown = [name for name in state if name not in slots]
    if unknown:
        raise KeyError(f"{type(module).__name__} has no parameter or buffer called {', '.join(unknown)}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a Tensor, got {type(value).__name__}; make one with tinytorch.asarray")
        if value.shape != own_value(slots[name]).shape:
            raise ValueError(f"{name} has shape {tuple(own_value(slots[name]).shape)}, the state holds {tuple(value.shape)}")
    with bind([slots[name] for name in state], list(state.values())) as bound:
        result = module(*args, **kwargs)
        state.update({name: bound[slots[name]] for name in state})
    return result
