"""Pytrees: nested tuples, lists and dictionaries of Tensors, the arguments and results of transformations in `tinytorch.autograd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytorch.tensor import Tensor


def list_tensors(tree: Any) -> list[Tensor]:
    """The Tensors in a pytree, in order."""
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """A copy of a pytree in which ``function(tensor)`` replaces each Tensor; other values are kept."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # the constructor of a named tuple takes its fields as separate arguments
        return type(tree)(*[map_tensors(function, value) for value in tree])
    if isinstance(tree, list | tuple):
        return type(tree)([map_tensors(function, value) for value in tree])
    return tree
