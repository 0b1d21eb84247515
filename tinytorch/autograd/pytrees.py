"""Pytrees: nested tuples, lists and dictionaries of Tensors, the arguments and results of transformations in `tinytorch.autograd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytorch.tensor import Tensor


def list_tensors(tree: Any) -> list[Tensor]:
    """The Tensors in a pytree, in order."""
    return [leaf for leaf in list_leaves(tree) if isinstance(leaf, Tensor)]


def list_leaves(tree: Any) -> list[Any]:
    """All values in a pytree that are not containers, in order."""
    found: list[Any] = []
    map_leaves(found.append, tree)
    return found


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """A copy of a pytree in which ``function(tensor)`` replaces each Tensor; other values are kept."""
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """A copy of a pytree in which ``function(leaf)`` replaces each leaf: each value that is not a tuple, list or dictionary."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_leaves(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # the constructor of a named tuple takes its fields as separate arguments
        return type(tree)(*[map_leaves(function, value) for value in tree])
    if isinstance(tree, list | tuple):
        return type(tree)([map_leaves(function, value) for value in tree])
    return function(tree)
