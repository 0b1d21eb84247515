"""Loading a state dict into the parameters and buffers of a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tinytorch.array_api import all, asarray, equal, reshape
from tinytorch.autograd.grad_mode import no_grad
from tinytorch.backend.host import as_host_array, is_host_array, read_array
from tinytorch.tensor import Tensor


class LoadedNames(NamedTuple):
    """The result of `tinytorch.nn.Module.load_state_dict`: names that the state dict or the module does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state(owner: str, own: Mapping[str, Tensor], shared: Mapping[str, str], state: Mapping[str, Any], strict: bool) -> LoadedNames:
    """Copy values into Tensors; see `tinytorch.nn.Module.load_state_dict`.

    Args:
        owner: name of the module's class, for errors.
        own: the Tensors of the module by name.
        shared: the name in ``own`` of a shared Tensor, by its other names.
        state, strict: as for `load_state_dict`.
    """
    given: dict[str, list[str]] = {name: [] for name in own}  # the names in the state dict, by own name
    unexpected = []
    for name in state:
        target = name if name in own else shared.get(name)
        if target is None:
            unexpected.append(name)
        else:
            given[target].append(name)
    missing = [name for name, sources in given.items() if not sources]
    if strict and (missing or unexpected):
        raise KeyError(f"the state dict does not match {owner}: missing names {missing}, unknown names {unexpected}")
    mismatched = [problem for name, sources in given.items() for problem in _problems(own[name], sources, state)]
    if mismatched:
        raise ValueError(f"the state dict does not match {owner}: {'; '.join(mismatched)}")
    # one at a time, the largest first, so that the peak memory is little more than the module itself
    for name in sorted((name for name, sources in given.items() if sources), key=lambda name: -own[name].size):
        tensor = own[name]
        tensor.raw = asarray(_as_array(state[given[name][0]]), dtype=tensor.dtype, device=tensor.device, copy=True).raw
    return LoadedNames(missing, unexpected)


def _problems(own: Tensor, names: list[str], state: Mapping[str, Any]) -> list[str]:
    """Why values cannot be copied into a Tensor; raises ``TypeError`` for one that is not numeric."""
    problems = []
    for name in names:
        value = _as_array(state[name])
        if tuple(value.shape) != own.shape:
            problems.append(f"{name} must have shape {own.shape}, got {tuple(value.shape)}")
        asarray(value.reshape(-1)[:0] if is_host_array(value) else reshape(value, (-1,))[:0], dtype=own.dtype, device=own.device)
    if len(names) > 1 and not problems:
        first, *others = [asarray(_as_array(state[name]), dtype=own.dtype, device=own.device) for name in names]
        with no_grad():
            problems += [
                f"{names[0]} and {name} share one parameter, but have different values"
                for name, other in zip(names[1:], others, strict=True)
                if not bool(all(equal(first, other)))
            ]
    return problems


def _as_array(value: Any) -> Any:
    """Convert a value of a state dict to a Tensor or a numpy array."""
    if isinstance(value, Tensor):
        return value.detach()
    return read_array(value) if hasattr(value, "__array__") else as_host_array(value)
