"""State dicts of optimizers, in the format of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinytorch.array_api import asarray
from tinytorch.backend.host import as_host_array, read_array
from tinytorch.nn.module import Parameter
from tinytorch.tensor import Tensor, wrap

if TYPE_CHECKING:
    from tinytorch.optim.optimizer import Optimizer

#: PyTorch's names of state arrays.
_PYTORCH_NAMES = {"first": "exp_avg", "second": "exp_avg_sq", "velocity": "momentum_buffer"}

#: Settings of PyTorch's optimizers that change the update, and that the optimizers here do not have.
_UNSUPPORTED = ("amsgrad", "dampening", "maximize")


def save_state(optimizer: Optimizer) -> dict[str, Any]:
    """The state dict of an optimizer; see `Optimizer.state_dict`."""
    index = {parameter: i for i, parameter in enumerate(optimizer.parameters)}
    state = {}
    for parameter, own in optimizer.state.items():
        arrays = [asarray(wrap(array, parameter.backend), copy=True) for array in own.arrays]
        state[index[parameter]] = {"step": own.steps, **dict(zip(_names(optimizer), arrays, strict=True))}
    settings = {name: getattr(optimizer, name) for name in optimizer.settings}
    groups = [
        {
            "lr": group["lr"],
            "weight_decay": group["weight_decay"],
            **settings,
            "params": [index[parameter] for parameter in group["params"]],
        }
        for group in optimizer.param_groups
    ]
    return {"state": state, "param_groups": groups, "steps": optimizer.steps, "skipped": optimizer.skipped}


def load_state(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load a state dict into an optimizer; see `Optimizer.load_state_dict`."""
    if not {"state", "param_groups"} <= saved.keys():
        raise KeyError(f'the state dict of an optimizer has "state" and "param_groups", got {", ".join(map(repr, saved)) or "nothing"}')
    groups = saved["param_groups"]
    lengths, given = [len(group["params"]) for group in optimizer.param_groups], [len(group["params"]) for group in groups]
    if lengths != given:
        raise ValueError(f"the optimizer has parameter groups with {lengths} parameters, but the state dict has groups with {given}")
    settings = _settings(optimizer, groups)
    order = [index for group in groups for index in group["params"]]
    found = {
        parameter: entry
        for parameter, i in zip(optimizer.parameters, order, strict=True)
        if (entry := saved["state"].get(i, saved["state"].get(str(i))))  # a JSON file has names only
    }
    state = {parameter: _parameter_state(optimizer, parameter, entry) for parameter, entry in found.items()}
    for group, values in zip(optimizer.param_groups, groups, strict=True):
        group.update({name: values[name] for name in ("lr", "weight_decay") if name in values})
    for name, value in settings.items():
        setattr(optimizer, name, value)
    optimizer.restore(state, int(saved.get("steps", max((steps for steps, _ in state.values()), default=0))), int(saved.get("skipped", 0)))


def _names(optimizer: Optimizer) -> list[str]:
    return [_PYTORCH_NAMES.get(slot, slot) for slot in optimizer.slots()]


def _settings(optimizer: Optimizer, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that all groups have in common, such as ``betas``."""
    for name in _UNSUPPORTED:
        if any(group.get(name) for group in groups):
            raise ValueError(
                f"the state dict was saved with {name}={groups[0].get(name)}, which {type(optimizer).__name__} does not support"
            )
    settings = {}
    for name in optimizer.settings:
        values = [group[name] for group in groups if name in group]
        if any(value != values[0] for value in values):
            raise ValueError(f"the groups of the state dict have different {name}: {values}; an optimizer has one value for all groups")
        if values:
            settings[name] = tuple(values[0]) if isinstance(values[0], list) else values[0]
    return settings


def _parameter_state(optimizer: Optimizer, parameter: Parameter, entry: Mapping[str, Any]) -> tuple[int, list[Any]]:
    """The number of steps and the state arrays of a parameter; raises if one is missing or has another shape."""
    arrays = []
    for name in _names(optimizer):
        value = entry.get(name)
        if value is None:
            raise KeyError(f"the state dict has no {name} for a parameter of shape {parameter.shape}; was it saved by another optimizer?")
        array = value.detach() if isinstance(value, Tensor) else read_array(value) if hasattr(value, "__array__") else as_host_array(value)
        if tuple(array.shape) != parameter.shape:
            raise ValueError(f"{name} must have the shape of its parameter, {parameter.shape}, got {tuple(array.shape)}")
        arrays.append(asarray(array, dtype=parameter.dtype, device=parameter.device, copy=True).raw)
    return int(entry.get("step", 0)), arrays
