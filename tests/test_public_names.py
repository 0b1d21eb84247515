"""What a user finds in the package `tinytorch`: its names, their help, and what a type checker knows of them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from pydoc import plain, render_doc

import pytest

import tinytorch as tt

PACKAGES = {"generation", "models", "nn", "ops", "optim", "text", "training", "vision"}


def test_dir_lists_the_public_names_and_the_packages_and_no_others() -> None:
    assert set(dir(tt)) == {*tt.__all__, *PACKAGES}
    assert not [name for name in dir(tt) if not hasattr(tt, name)]
    assert not {"annotations", "array_api", "backend", "BoundNamespace", "TYPE_CHECKING"} & set(dir(tt))


def test_star_imports_load_no_package() -> None:
    code = "import sys; from tinytorch import *; print(*(m for m in sys.modules if m.startswith('tinytorch.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {f"tinytorch.{name}" for name in PACKAGES} & set(loaded)


def test_a_misspelled_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'tinytorch' has no attribute 'sume'"):
        tt.sume  # noqa: B018


@pytest.mark.parametrize("function", [tt.sum, tt.add, tt.linalg.inv, tt.fft.fft, tt.ops.relu, tt.grad])
def test_help_shows_arguments_and_docstring(function: object) -> None:
    text = plain(render_doc(function))
    assert re.search(r"^\w+\(\w+.*\) -> ", text, flags=re.M), text
    assert str(function.__doc__).splitlines()[0] in text


USER_CODE = """
import tinytorch as tt
from tinytorch import Tensor, nn

x = tt.zeros((2, 3))

def loss(x: Tensor, scale: float, *, shift: int = 0) -> Tensor:
    return tt.sum(x) * scale + shift

def tree_loss(params: dict[str, Tensor], x: Tensor) -> tuple[Tensor, int]:
    return tt.sum(x), 1

reveal_type(tt.sum(x))  # Tensor
reveal_type(2.0 * x + x)  # Tensor
reveal_type(x == x)  # Tensor
reveal_type(float(x))  # float
reveal_type(tt.ops.relu(x))  # Tensor
reveal_type(tt.grad(loss)(x, 2.0, shift=1))  # Tensor
reveal_type(tt.value_and_grad(loss)(x, 2.0))  # tuple[Tensor, Tensor]
reveal_type(tt.grad(tree_loss, has_aux=True)({}, x))  # tuple[dict[str, Tensor], int]
reveal_type(tt.value_and_grad(lambda a, b: tt.sum(a * b), argnums=(0, 1))(x, x))  # tuple[Tensor, tuple[Any, ...]]
reveal_type(tt.checkpoint(loss)(x, 2.0))  # Tensor
reveal_type(tt.jvp(tt.sum, (x,), (x,)))  # tuple[Tensor, Tensor]
tt.grad(lambda x: tt.sum(x))(x)
tt.sume(x)  # error: Module has no attribute "sume"
tt.linalg.invers(x)  # error: Module has no attribute "invers"
nn.Liner(2, 3)  # error: Module has no attribute "Liner"
tt.add(x)  # error: Too few arguments
tt.arithmetic  # error: Module has no attribute "arithmetic"
tt.grad(loss)(x, "2")  # error: Argument 2 has incompatible type "str"
"""


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: pip install 'tinytorch-xp[dev]'")
def test_a_type_checker_knows_the_names_and_what_they_return(tmp_path: Path) -> None:
    file = tmp_path / "user_code.py"
    file.write_text(USER_CODE, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    told = {int(line): text for line, text in re.findall(r"user_code\.py:(\d+): (.*)", output)}
    expected = {i: line.partition("  # ")[2] for i, line in enumerate(USER_CODE.split("\n"), 1) if "  # " in line}
    assert told.keys() == expected.keys(), output
    for line, text in expected.items():
        found = re.sub(r"\b(?:tinytorch|builtins)(?:\.\w+)*\.(\w+)", r"\1", told[line])
        wanted = text if text.startswith("error: ") else f'note: Revealed type is "{text}"'
        assert wanted in found
