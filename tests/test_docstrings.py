"""Public docstrings: every public name has one, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from copy import copy
from typing import Any, get_origin

import pytest

import tinytorch as tt
from tinytorch import array_api
from tinytorch.backend import DType, registry

#: Packages whose public names have an example in their docstring.
PACKAGES: list[str] = [
    "tinytorch.nn",
    "tinytorch.optim",
    "tinytorch.models",
    "tinytorch.array_api",
    "tinytorch.array_api.fft",
    "tinytorch.array_api.linalg",
    "tinytorch.generation",
    "tinytorch.text",
    "tinytorch.vision",
    "tinytorch",
    "tinytorch.backend",
    "tinytorch.ops",
    "tinytorch.testing",
    "tinytorch.training",
]


def public_names(package: str) -> dict[str, Any]:
    """The functions and classes in ``__all__`` of a package by name; for ``tinytorch`` those that it adds to ``tinytorch.array_api``."""
    module = importlib.import_module(package)
    elsewhere = set(array_api.__all__) if package == "tinytorch" else set()
    found = {name: getattr(module, name) for name in module.__all__ if not name.startswith("__") and name not in elsewhere}
    return {name: value for name, value in found.items() if callable(value) and not is_alias(value)}


def is_alias(value: Any) -> bool:
    """Whether ``value`` is a dtype or a type alias, which have no docstring of their own."""
    return isinstance(value, DType) or value is Any or get_origin(value) is not None


NAMES = [(package, name) for package in PACKAGES for name in public_names(package)]


@pytest.mark.parametrize(("package", "name"), NAMES, ids=[f"{package}.{name}" for package, name in NAMES])
def test_a_public_docstring_has_a_sentence_and_an_example(package: str, name: str) -> None:
    text = inspect.getdoc(public_names(package)[name]) or ""
    first = text.partition("\n\n")[0]
    assert first.endswith((".", ":")), first
    assert ">>>" in text or issubclass_of_exception(public_names(package)[name])


def issubclass_of_exception(value: Any) -> bool:
    """Errors need no example."""
    return isinstance(value, type) and issubclass(value, BaseException)


@pytest.mark.parametrize(("package", "name"), NAMES, ids=[f"{package}.{name}" for package, name in NAMES])
def test_the_examples_in_docstrings_run(package: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the numpy backend, with seed 0 and the names ``tt``, ``nn``, ``optim`` and ``numpy``."""
    for attribute in ("_registered", "_namespace_factory"):  # restored after the example
        monkeypatch.setattr(registry, attribute, copy(getattr(registry, attribute)))
    value = public_names(package)[name]
    tt.seed(0)
    names = {"tt": tt, "nn": tt.nn, "optim": tt.optim, "numpy": importlib.import_module("numpy")}
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(value) or "", names, f"{package}.{name}", None, None)
    with tt.use_backend("numpy"):
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        output: list[str] = []
        runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)
