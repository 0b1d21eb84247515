"""Type checking of user code: types of calls, and misspelled names."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinytorch

if importlib.util.find_spec("mypy") is None:
    pytest.skip('mypy is not installed; pip install -e ".[dev]"', allow_module_level=True)

ROOT = Path(tinytorch.__file__).parent.parent

#: The comment of each line is the expected type.
CALLS = '''
import numpy

import tinytorch as tt
from tinytorch import nn, optim
from tinytorch.models import MLP

x = tt.ones((4, 2))
linear = nn.Linear(2, 3)
reveal_type(linear)  # Linear
reveal_type(linear(x))  # Tensor
reveal_type(linear(numpy.ones((4, 2), "float32")))  # Tensor
reveal_type(nn.Conv2d(1, 2, 3)(x))  # Tensor
reveal_type(nn.BatchNorm1d(2)(x))  # Tensor
reveal_type(nn.MultiHeadAttention(2, 1)(x, is_causal=True))  # Tensor
reveal_type(MLP(2, (3,), 4)(x))  # Tensor

model = nn.Sequential(linear, nn.ReLU())
reveal_type(model(x))  # Tensor
reveal_type(model[0])  # Module
reveal_type(model.train())  # Sequential

reveal_type(nn.CrossEntropyLoss()(model(x), tt.zeros(4)))  # Tensor
reveal_type(nn.MSELoss()(x, x))  # Tensor

optimizer = optim.AdamW(model.parameters(), lr=1e-3)
reveal_type(optimizer)  # AdamW
reveal_type(optimizer.step())  # None


class Pair(nn.Module):
    """A call of a user-defined module has the type that its forward returns."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: tt.Tensor) -> tuple[tt.Tensor, tt.Tensor]:
        y = self.linear(x)
        return x, y


reveal_type(Pair()(x))  # tuple[Tensor, Tensor]


def loss(x: tt.Tensor, scale: float, *, shift: int = 0) -> tt.Tensor:
    return tt.sum(x) * scale + shift


def tree_loss(params: dict[str, tt.Tensor], x: tt.Tensor) -> tuple[tt.Tensor, int]:
    return tt.sum(x), 1


reveal_type(tt.sum(x))  # Tensor
reveal_type(2.0 * x + x)  # Tensor
reveal_type(x == x)  # Tensor
reveal_type(float(x))  # float
reveal_type(x.sum(dim=1, keepdim=True))  # Tensor
reveal_type(x.mean(0).exp().add(x, alpha=2).reshape(-1).view(2, 2))  # Tensor
reveal_type(x.transpose(0, 1).unsqueeze(0).float())  # Tensor
reveal_type(x.split(2, dim=1))  # tuple[Tensor, ...]
reveal_type(x.size)  # Size
reveal_type(x.size())  # tuple[int, ...]
reveal_type(x.size(0))  # int
reveal_type(x.T)  # Tensor
reveal_type(x.mul_(2.0))  # Tensor
reveal_type(x.to("numpy"))  # Tensor
reveal_type(x.data)  # Tensor
reveal_type(x.numel())  # int
reveal_type(tt.ops.relu(x))  # Tensor
reveal_type(tt.grad(loss)(x, 2.0, shift=1))  # Tensor
reveal_type(tt.value_and_grad(loss)(x, 2.0))  # tuple[Tensor, Tensor]
reveal_type(tt.grad(tree_loss, has_aux=True)({}, x))  # tuple[dict[str, Tensor], int]
reveal_type(tt.value_and_grad(lambda a, b: tt.sum(a * b), argnums=(0, 1))(x, x))  # tuple[Tensor, tuple[Any, ...]]
reveal_type(tt.checkpoint(loss)(x, 2.0))  # Tensor
reveal_type(tt.jvp(tt.sum, (x,), (x,)))  # tuple[Tensor, Tensor]
tt.grad(lambda x: tt.sum(x))(x)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all tests, so that mypy analyzes tinytorch once."""
    return tmp_path_factory.mktemp("user")


def check(folder: Path, code: str) -> str:
    """The output of mypy in strict mode for a script."""
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    options = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={folder / 'cache'}"]
    path = {} if "site-packages" in ROOT.parts else {"MYPYPATH": str(ROOT)}  # mypy finds installed packages without it
    command = [sys.executable, "-m", "mypy", *options, str(script)]
    return subprocess.run(command, cwd=folder, env={**os.environ, **path}, capture_output=True, text=True, check=False).stdout


def test_calls_of_layers_losses_optimizers_and_functions_have_types(folder: Path) -> None:
    output = check(folder, CALLS)
    revealed = {int(line): kind for line, kind in re.findall(r'script\.py:(\d+): note: Revealed type is "(.*)"', output)}
    expected = {i: line.rpartition("# ")[2] for i, line in enumerate(CALLS.splitlines(), 1) if line.startswith("reveal_type")}
    assert {line: re.sub(r"\b\w+\.", "", kind) for line, kind in revealed.items()} == expected, output
    assert "error" not in output


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("nn.Linaer(2, 3)", 'Module has no attribute "Linaer"; maybe "Linear"?'),
        ("nn.Linear(2, 3, bais=False)", 'Unexpected keyword argument "bais" for "Linear"'),
        ("optim.Adamm", 'Module has no attribute "Adamm"'),
        ("tt.sume(tt.ones(2))", 'Module has no attribute "sume"; maybe "sum"?'),
        ("tt.linalg.invers", 'Module has no attribute "invers"'),
        ("tt.arithmetic", 'Module has no attribute "arithmetic"'),
        ("tt.add(tt.ones(2))", "Too few arguments"),
        ("tt.ones(2).summ()", '"Tensor" has no attribute "summ"'),
        ("tt.ones(2).sum(axes=1)", 'Unexpected keyword argument "axes" for "sum"'),
    ],
)
def test_a_misspelled_name_is_a_type_error(folder: Path, line: str, error: str) -> None:
    assert f"script.py:3: error: {error}" in check(folder, f"import tinytorch as tt\nfrom tinytorch import nn, optim\n{line}\n")
