"""The public names of the package `tinytorch` and their help texts."""

from __future__ import annotations

import re
import subprocess
import sys
from pydoc import plain, render_doc

import pytest

import tinytorch as tt

PACKAGES = {"generation", "models", "nn", "ops", "optim", "testing", "text", "training", "vision"}


def test_dir_lists_exactly_the_public_names_and_packages() -> None:
    assert set(dir(tt)) == {*tt.__all__, *PACKAGES}
    assert not [name for name in dir(tt) if not hasattr(tt, name)]
    assert not {"annotations", "array_api", "backend", "BoundNamespace", "TYPE_CHECKING"} & set(dir(tt))


def test_star_imports_do_not_load_packages() -> None:
    code = "import sys; from tinytorch import *; print(*(m for m in sys.modules if m.startswith('tinytorch.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {f"tinytorch.{name}" for name in PACKAGES} & set(loaded)


def test_a_misspelled_name_raises() -> None:
    with pytest.raises(AttributeError, match="module 'tinytorch' has no attribute 'sume'"):
        tt.sume  # noqa: B018


@pytest.mark.parametrize("function", [tt.sum, tt.add, tt.linalg.inv, tt.fft.fft, tt.ops.relu, tt.grad])
def test_help_shows_arguments_and_docstring(function: object) -> None:
    text = plain(render_doc(function))
    assert re.search(r"^\w+\(\w+.*\) -> ", text, flags=re.M), text
    assert str(function.__doc__).splitlines()[0] in text
