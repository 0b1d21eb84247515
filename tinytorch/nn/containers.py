"""Containers: modules that consist of other modules."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, overload

from tinytorch.array_api import astype
from tinytorch.backend.device import Device
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor


class ModuleList(Module):
    """A list of modules, whose parameters belong to the module that holds the list.

    Modules are named by their position. They can be appended, inserted, replaced (``layers[0] = module``) and deleted as in a list;
    ``layers[1:]`` is a ModuleList of the same modules.

    Args:
        modules: the modules.

    Raises:
        TypeError: an element is not a Module.

    Example:
        >>> layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
        >>> len(layers), layers[0].weight.shape, len(layers[1:])
        (3, (2, 2), 2)
    """

    batch_independent = True

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: Any) -> Any:
        modules = list(self._modules.values())[index]
        return ModuleList(modules) if isinstance(index, slice) else modules

    def __setitem__(self, index: int, module: Module) -> None:
        self._modules[list(self._modules)[index]] = self._checked(module, index)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._replace(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the list."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns the list."""
        checked = [self._checked(module, len(self) + i) for i, module in enumerate(modules)]
        self._modules.update({str(len(self) + i): module for i, module in enumerate(checked)})
        return self

    def insert(self, index: int, module: Module) -> None:
        """Add a module before position ``index``; those after it are renamed."""
        modules = list(self)
        modules.insert(index, self._checked(module, index))
        self._replace(modules)

    def pop(self, index: int = -1) -> Module:
        """Remove a module and return it; those after it are renamed."""
        module = self[index]
        del self[index]
        return module

    def _checked(self, module: Any, index: int) -> Module:
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} takes modules, got {module!r} at index {index}")
        return module

    def _replace(self, modules: Iterable[Module]) -> None:
        """Hold these modules instead, named by their position."""
        modules = list(modules)
        self._modules.clear()
        self.extend(modules)


class Sequential(ModuleList):
    """A chain of modules: each one runs on the output of the previous one.

    Args:
        modules: the modules, in order, or one dictionary of modules by name.

    Raises:
        TypeError: an argument is not a Module.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> model(tt.ones((4, 2))).shape
        (4, 1)
        >>> model[:2]
        Sequential(
          (0): Linear(in_features=2, out_features=3, bias=True)
          (1): ReLU()
        )
    """

    data_arguments = 1

    @overload
    def __init__(self, *modules: Module) -> None: ...
    @overload
    def __init__(self, modules: Mapping[str, Module], /) -> None: ...
    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            super().__init__()
            for i, (name, module) in enumerate(modules[0].items()):
                setattr(self, name, self._checked(module, i))
        else:
            super().__init__(modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))  # with their names, as in PyTorch
        return super().__getitem__(index)

    def prepare_input(self, array: Any, device: Device | None = None) -> Tensor:
        """Let the first module convert the input; floating-point numbers get the dtype of the parameters."""
        first = next(iter(self), None)
        if first is None:
            return super().prepare_input(array, device)
        tensor, dtype = first.prepare_input(array, self.device or device), self.dtype
        return astype(tensor, dtype, copy=False) if dtype is not None and tensor.dtype.kind == "real floating" else tensor

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x


class ModuleDict(Module):
    """A dictionary of modules, whose parameters belong to the module that holds it.

    Args:
        modules: the modules by name.

    Raises:
        TypeError: a value is not a Module.
        KeyError: a name is empty or contains a dot, which separates names in a state dict.

    Example:
        >>> heads = nn.ModuleDict({"small": nn.Linear(2, 3), "large": nn.Linear(2, 30)})
        >>> heads["large"](tt.ones((4, 2))).shape
        (4, 30)
        >>> [name for name, _ in heads.named_parameters()]
        ['small.weight', 'small.bias', 'large.weight', 'large.bias']
    """

    batch_independent = True

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict takes modules, got {module!r} for {name!r}")
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"the name of a module must be a string without dots that is not empty, got {name!r}")
        self._modules[name] = module

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Module]:
        """Pairs of name and module."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add modules by name; a module with the same name is replaced."""
        for name, module in modules.items():
            self[name] = module

    def pop(self, name: str) -> Module:
        """Remove a module and return it."""
        return self._modules.pop(name)


class Identity(Module):
    """Returns its input, such as in place of a layer that is left out.

    Args:
        args: ignored, so that it can take the arguments of the layer that it replaces, as in PyTorch.

    Shape:
        (...) -> (...).

    Example:
        >>> nn.Identity()(tt.asarray([1.0, 2.0]))
        Tensor([1., 2.], dtype=float32, device='numpy:cpu')
    """

    batch_independent = True
    data_arguments = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x
