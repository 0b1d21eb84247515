"""Nested tuples, lists and dictionaries of Tensors, as arguments and results of the transformations in `tinytorch.autograd`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytorch.tensor import Tensor


def list_tensors(tree: Any) -> list[Tensor]:
    """The Tensors in ``tree``, in order."""
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """``tree`` with every Tensor replaced by ``function`` of it; other things stay."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named tuple takes its fields one by one
        return type(tree)(*[map_tensors(function, value) for value in tree])
    if isinstance(tree, list | tuple):
        return type(tree)([map_tensors(function, value) for value in tree])
    return tree
