"""Parameter groups: parameters with their own weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeAlias

from tinytorch.nn.module import Parameter
from tinytorch.tensor import Tensor

#: Parameters to optimize, or parameter groups, ``{"params": [...], "weight_decay": 0.0}``.
Parameters: TypeAlias = Iterable[Parameter] | Iterable[Mapping[str, Any]]


def weight_decay_groups(parameters: Iterable[Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Return two parameter groups: matrices and filters with weight decay, and biases and normalization weights (1-d) without.

    Args:
        parameters: the parameters.
        weight_decay: weight decay of the first group.

    Returns:
        Two parameter groups for an `Optimizer`.

    Example:
        >>> groups = optim.weight_decay_groups(nn.Linear(2, 1).parameters(), 0.1)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(1, 0.1), (1, 0.0)]
    """
    params = list(parameters)
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


class ParameterGroup(MutableMapping[str, Any]):
    """A parameter group of an optimizer: ``"params"``, ``"lr"`` and ``"weight_decay"``.

    The next step uses a value that is set: ``group["lr"] = 1e-4``. All groups must have the same ``"lr"`` when a step is taken.

    Args:
        params: the parameters.
        lr: learning rate.
        weight_decay: weight decay.

    Raises:
        TypeError: another key is set, or a value is not a number.
        ValueError: a value is negative.

    Example:
        >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
        >>> for group in optimizer.param_groups:
        ...     group["lr"] *= 0.5
        >>> optimizer.lr
        0.05
    """

    def __init__(self, params: list[Parameter], lr: float, weight_decay: float) -> None:
        self._values: dict[str, Any] = {"params": params}
        self["lr"] = lr
        self["weight_decay"] = weight_decay

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "params":
            raise TypeError("the parameters of a group cannot be replaced; create a new optimizer")
        if key not in ("lr", "weight_decay"):
            raise TypeError(f'a parameter group has "lr" and "weight_decay", got {key!r}; other settings are attributes of the optimizer')
        number = float(value)
        if not number >= 0.0:  # NaN too
            raise ValueError(f"{key} must not be negative, got {value}")
        self._values[key] = value if isinstance(value, float | int) else number

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"{key!r} of a parameter group cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"ParameterGroup({len(self['params'])} parameters, lr={self['lr']}, weight_decay={self['weight_decay']})"


def parse_groups(parameters: Parameters, weight_decay: float) -> list[tuple[list[Parameter], float]]:
    """Return parameters and weight decay of each group; parameters without groups are one group."""
    if isinstance(parameters, Tensor | Mapping):
        raise TypeError(f"parameters must be a list of parameters or of groups, got a single {type(parameters).__name__}; put it in a list")
    entries = list(parameters)
    groups = [entry for entry in entries if isinstance(entry, Mapping)]
    if groups and len(groups) < len(entries):
        raise TypeError("parameters must be either all parameters or all groups, not both in one list")
    parsed: list[tuple[list[Parameter], float]] = []
    for group in groups or [{"params": entries}]:
        unknown = sorted(set(group) - {"params", "weight_decay"})
        if unknown or "params" not in group:
            raise TypeError(
                f'a parameter group must have "params" and may have "weight_decay", got {", ".join(map(repr, group)) or "nothing"}; '
                f"an optimizer has one value of other settings, so use several optimizers"
            )
        params: list[Any] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        for parameter in params:
            if not isinstance(parameter, Tensor):
                raise TypeError(f"parameters must be Tensors, such as model.parameters(), got one of type {type(parameter).__name__}")
        decay = group.get("weight_decay", weight_decay)
        if not decay >= 0.0:  # NaN too
            raise ValueError(f"weight_decay must not be negative, got {decay}")
        parsed.append((params, decay))
    return parsed
