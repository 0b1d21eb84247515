"""Scripts that are written for PyTorch train here to the same losses, with other imports and few changed lines."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tinytorch.backend import Backend

HERE = Path(__file__).parent

IMPORTS = {
    "import torch": "import tinytorch as torch",
    "import torch.nn as nn": "from tinytorch import nn",
    "from torch import nn": "from tinytorch import nn",
    "from torch.nn import functional as F": "from tinytorch.nn import functional as F",
    "import torch.nn.functional as F": "from tinytorch.nn import functional as F",
    "import torch.optim as optim": "from tinytorch import optim",
}

#: Lines that change besides the imports, at most five for each script.
CHANGES: dict[str, dict[str, str]] = {
    "gpt_training": {},
    "gpt_model": {"solution = torch.sort(numbers)[0]": "solution = torch.sort(numbers)"},
    "digits_cnn": {},
    "moons_mlp": {},
}


def ported(name: str) -> str:
    """The source of a script for tinytorch."""
    changes = CHANGES[name]
    assert len(changes) <= 5
    lines, left = [], set(changes)
    for line in (HERE / f"{name}.py").read_text(encoding="utf-8").splitlines():
        words = line.strip()
        left.discard(words)
        new = IMPORTS.get(line) or changes.get(words)
        lines.append(line if new is None else line[: len(line) - len(line.lstrip())] + new)
    assert not left, f"{name}.py has no line {left}"
    return "\n".join(lines)


def loaded(name: str, source: str) -> Any:
    module = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", CHANGES)
def test_a_script_for_pytorch_trains_to_the_same_losses(backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = loaded(name, (HERE / f"{name}.py").read_text(encoding="utf-8"))
    ours = loaded(name, ported(name))
    model = theirs.build()
    state = {key: value.detach().numpy().copy() for key, value in model.state_dict().items()}
    with torch.random.fork_rng():
        expected = theirs.train(model, 20)
    own = ours.build()
    assert set(own.state_dict()) == set(state)
    own.load_state_dict(state)
    losses = ours.train(own, 20)
    numpy.testing.assert_allclose(losses, expected, atol=1e-4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", CHANGES)
def test_a_ported_script_trains_without_pytorch(backend: Backend, name: str) -> None:
    module = loaded(name, ported(name))
    tt.seed(0)
    losses = module.train(module.build(), 20)
    assert numpy.isfinite(losses).all()
    assert losses[-1] < losses[0]
