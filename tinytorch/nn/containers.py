"""Containers: modules that consist of other modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinytorch.backend.device import Device
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor


class ModuleList(Module):
    """A list of modules, whose parameters belong to the module that holds the list.

    Args:
        modules: the modules.

    Raises:
        TypeError: an element is not a Module.

    Example:
        >>> layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
        >>> len(layers), layers[0].weight.shape
        (3, (2, 2))
    """

    batch_independent = True

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__} takes modules, got {module!r} at index {i}")
            setattr(self, str(i), module)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> Module:
        return list(self._modules.values())[index]


class Sequential(ModuleList):
    """A chain of modules: each one runs on the output of the previous one.

    Args:
        modules: the modules, in order.

    Raises:
        TypeError: an argument is not a Module.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> model(tt.ones((4, 2))).shape
        (4, 1)
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        """Let the first module convert the input."""
        first = next(iter(self), None)
        if first is None:
            return super().prepare_input(array, device)
        return first.prepare_input(array, self.device or device)

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x
