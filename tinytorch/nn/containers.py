"""Modules that hold modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinytorch.backend.device import Device
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor


class ModuleList(Module):
    """Modules in order, to loop over."""

    batch_independent = True

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__} holds modules, got {module!r} at position {i}")
            setattr(self, str(i), module)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> Module:
        return list(self._modules.values())[index]


class Sequential(ModuleList):
    """Modules that run one after another, each on the result of the one before."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        """Input goes to the first module, which may check it."""
        first = next(iter(self), None)
        if first is None:
            return super().prepare_input(array, device)
        return first.prepare_input(array, self.device or device)

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x
