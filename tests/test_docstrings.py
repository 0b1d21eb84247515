"""Public docstrings: every public name has one, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from typing import Any

import pytest

import tinytorch as tt

#: Packages whose public names have an example in their docstring.
PACKAGES: list[str] = ["tinytorch.training"]


def public_names(package: str) -> dict[str, Any]:
    """The functions and classes in ``__all__`` of a package by name."""
    module = importlib.import_module(package)
    found = {name: getattr(module, name) for name in module.__all__ if not name.startswith("__")}
    return {name: value for name, value in found.items() if callable(value) and not isinstance(value, type(tt.float32))}


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
def test_the_examples_in_docstrings_run(package: str, name: str) -> None:
    """With numpy's arrays, seed 0, and ``tt``, ``nn``, ``optim`` and ``numpy`` at hand."""
    value = public_names(package)[name]
    tt.seed(0)
    names = {"tt": tt, "nn": tt.nn, "optim": tt.optim, "numpy": importlib.import_module("numpy")}
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(value) or "", names, f"{package}.{name}", None, None)
    with tt.use_backend("numpy"):
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        output: list[str] = []
        runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)
