"""Arguments as in PyTorch: the keywords ``dim`` and ``keepdim`` are accepted, and other unknown arguments raise and name ours.

`tinytorch.autograd.operation.Operation` and `accept_dim` call `rename_keywords` for a call with an unknown keyword only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import FunctionType
from typing import Any

from tinytorch.suggestions import suggest

#: The names of PyTorch that are accepted, and the parameters that they may stand for.
ALIASES = {"dim": ("axis", "axes"), "keepdim": ("keepdims",)}

#: Other names of PyTorch and numpy, and what to write instead.
INSTEAD = {
    "ddof": "`correction`",
    "unbiased": "correction=1 instead of unbiased=True, correction=0 (the default) instead of unbiased=False",
    "diagonal": "`k`",
    "offset": "`k`",
    "dims": "`axis`",
    "shifts": "`shift`",
    "rounding_mode": 'x // y for rounding_mode="floor"',
    "p": "`ord`",
    "decimals": "tt.round(x * 100) / 100 for decimals=2",
    "out": "y = f(x) instead of f(x, out=y)",
    "input": "the Tensor as the first argument, without a name",
    "order": "nothing: the elements are in C order",
}

#: Functions that return a pair (values, indices) in PyTorch if they are called with ``dim``, and the function for the indices.
PAIRS = {"max": "argmax", "min": "argmin", "sort": "argsort"}


def pair_hint(name: str, axis: object) -> str:
    """What to write instead of a function of `PAIRS` along ``axis``."""
    return f"write {name}(..., axis={axis!r}) for the values, and {PAIRS[name]}(..., axis={axis!r}) for the indices"


def keyword_names(function: Callable[..., Any]) -> frozenset[str]:
    """The names of the parameters of a function that can be passed by name."""
    code = function.__code__
    return frozenset(code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount])


def check_count(function: Callable[..., Any], args: Sequence[Any], name: str, skip: int = 0) -> None:
    """Raise ``TypeError`` if there are more positional arguments than parameters; the first ``skip`` parameters are not counted."""
    code = function.__code__
    if len(args) > code.co_argcount - skip and not code.co_flags & inspect.CO_VARARGS:
        keyword_only = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
        raise too_many_arguments(name, args, code.co_varnames[skip : code.co_argcount], keyword_only)


def too_many_arguments(name: str, args: Sequence[Any], parameters: Sequence[str], keywords: Sequence[str]) -> TypeError:
    """The error for a call with more positional arguments than ``parameters``."""
    if name in PAIRS:
        return TypeError(
            f"{name} with an axis by position returns values in numpy, and values and indices in PyTorch; {pair_hint(name, args[-1])}"
        )
    expected = f"at most {len(parameters)} positional argument(s) ({', '.join(parameters)})" if parameters else "no positional arguments"
    rest = f"; pass the others by name ({', '.join(keywords)})" if keywords else ""
    return TypeError(f"{name}() takes {expected}, got {len(args)}{rest}")


def rename_keywords(name: str, known: frozenset[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments with the names of the function: ``dim`` becomes ``axis``.

    Args:
        name: the name of the function, for errors.
        known: the names of its parameters.
        given: keyword arguments.

    Raises:
        TypeError: a name is unknown, is given twice (``axis`` and ``dim``), or has another meaning in PyTorch.
    """
    renamed: dict[str, Any] = {}
    for key, value in given.items():
        own = key if key in known else next((own for own in ALIASES.get(key, ()) if own in known), None)
        if own is None:
            hint = f"; write {INSTEAD[key]}" if key in INSTEAD else suggest(key, known)
            raise TypeError(f"{name}() got an unexpected keyword argument {key!r}{hint}")
        if key == "dim" and own != key:
            if name in PAIRS:
                raise TypeError(f"{name} with `dim` returns values and indices in PyTorch; {pair_hint(name, value)}")
            value = tuple(value) if isinstance(value, list) else value
        if own in renamed or (own != key and own in given):
            raise TypeError(f"{name}: `{own}` and `{key}` are the same argument; pass one of them")
        renamed[own] = value
    return renamed


def accept_dim(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Make the functions of a module that have an ``axis`` accept ``dim`` too, as operations do."""
    for name in names:
        function = namespace[name]
        if isinstance(function, FunctionType) and keyword_names(function) & {"axis", "axes"}:
            namespace[name] = _accepting_dim(function)


def _accepting_dim(function: FunctionType) -> Callable[..., Any]:
    known = keyword_names(function)

    @wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        check_count(function, args, function.__name__)
        if not known.issuperset(settings):
            settings = rename_keywords(function.__name__, known, settings)
        return function(*args, **settings)

    return call
