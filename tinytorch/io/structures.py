"""Nested dicts, lists and tuples of arrays and numbers, as named arrays and a JSON text that describes the structure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_SUPPORTED = "dicts, lists and tuples of Tensors, numbers, strings, booleans and None"


def flatten(value: Any, is_array: Callable[[Any], bool]) -> tuple[dict[str, Any], str]:
    """Split a nested structure into its arrays and a description.

    Args:
        value: dicts (with strings or integers as keys), lists and tuples of arrays, numbers, strings, booleans and ``None``.
        is_array: whether an object is an array.

    Returns:
        The arrays, named by their position, such as ``"layers.0.weight"``; and the description, JSON. An array that occurs several times
        is stored once.

    Raises:
        TypeError: an object is of another type; the message says where.
        ValueError: the structure contains itself.
    """
    arrays: dict[str, Any] = {}
    names: dict[int, str] = {}  # by the identity of an array

    def describe(value: Any, path: tuple[str, ...], outer: tuple[int, ...]) -> Any:
        if is_array(value):
            if id(value) not in names:
                names[id(value)] = _unused_name(path, arrays)
                arrays[names[id(value)]] = value
            return {"array": names[id(value)]}
        if getattr(value, "shape", None) == ():  # a numpy scalar
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if id(value) in outer:
            raise ValueError(f"the structure contains itself, at {_place(path)}")
        outer = (*outer, id(value))
        if isinstance(value, Mapping):
            wrong = [key for key in value if not isinstance(key, str | int)]
            if wrong:
                raise TypeError(f"a key of a dict must be a string or an integer, got {wrong[0]!r} at {_place(path)}")
            return {"dict": [[key, describe(item, (*path, str(key)), outer)] for key, item in value.items()]}
        if type(value) is list or type(value) is tuple:
            items = [describe(item, (*path, str(i)), outer) for i, item in enumerate(value)]
            return items if type(value) is list else {"tuple": items}
        raise TypeError(f"expected {_SUPPORTED}, got {type(value).__name__} at {_place(path)}; convert it, or leave it out")

    try:
        return arrays, json.dumps(describe(value, (), ()))
    except RecursionError:
        raise ValueError("the structure is nested too deeply") from None


def _place(path: tuple[str, ...]) -> str:
    return f"the entry {'.'.join(path)!r}" if path else "the top"


def _unused_name(path: tuple[str, ...], used: Mapping[str, Any]) -> str:
    """A name for the array at ``path``: names of other arrays, and the name that safetensors reserves, are extended."""
    name = ".".join(path).encode("utf-8", "replace").decode("utf-8") or "tensor"
    while name in used or name == "__metadata__":
        name += "_"
    return name


def restore(description: str, arrays: Mapping[str, T]) -> Any:
    """The structure that `flatten` described, with these arrays.

    Raises:
        ValueError: the description is damaged; the message is a clause that says how.
    """

    def build(node: Any) -> Any:
        if isinstance(node, list):
            return [build(item) for item in node]
        if not isinstance(node, dict):
            return node
        if len(node) != 1:
            raise ValueError("an entry of an unknown kind")
        ((kind, content),) = node.items()
        if kind == "array" and isinstance(content, str):
            if content not in arrays:
                raise ValueError(f"the array {content!r} is missing")
            return arrays[content]
        if kind == "tuple" and isinstance(content, list):
            return tuple(build(item) for item in content)
        if kind == "dict" and isinstance(content, list) and all(_is_item(item) for item in content):
            return {key: build(item) for key, item in content}
        raise ValueError("an entry of an unknown kind")

    try:
        return build(json.loads(description))
    except json.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _is_item(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], str | int)
