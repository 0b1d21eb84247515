"""Scripts that are written for PyTorch train here to the same losses, with other imports and few changed lines."""

from __future__ import annotations

import sys
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
    "gpt_training": {
        "pos = torch.arange(0, t, dtype=torch.long, device=device)": "pos = torch.arange(0, t, device=device)",
        "x = torch.stack([torch.from_numpy(data[i : i + block_size]) for i in ix])": "x = torch.stack([torch.tensor(data[i : i + block_size]) for i in ix])",
        "y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + block_size]) for i in ix])": "y = torch.stack([torch.tensor(data[i + 1 : i + 1 + block_size]) for i in ix])",
        "sample = model.generate(torch.zeros((1, 1), dtype=torch.long), 5, top_k=3)": "sample = model.generate(torch.tensor([[0]]), 5, top_k=3)",
    },
    "gpt_model": {
        "pos = torch.arange(0, t, dtype=torch.long, device=device).unsqueeze(0)": "pos = torch.arange(0, t, device=device).unsqueeze(0)",
        "numbers = torch.tensor(random.randint(0, 3, (8, 6)), dtype=torch.long)": "numbers = torch.tensor(random.randint(0, 3, (8, 6)))",
        "solution = torch.sort(numbers)[0]": "solution = torch.sort(numbers)",
        "answer = model.generate(torch.tensor([[2, 0, 1, 1, 0, 2]], dtype=torch.long), 6)": "answer = model.generate(torch.tensor([[2, 0, 1, 1, 0, 2]]), 6)",
    },
    "digits_cnn": {"x = torch.flatten(x, 1)": "x = x.flatten(1)"},
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


def loaded(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look there
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", CHANGES)
def test_a_script_for_pytorch_trains_to_the_same_losses(backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = loaded(name, (HERE / f"{name}.py").read_text(encoding="utf-8"), monkeypatch)
    ours = loaded(name, ported(name), monkeypatch)
    model = theirs.build()
    state = {key: value.detach().numpy().copy() for key, value in model.state_dict().items()}
    with torch.random.fork_rng():
        expected = theirs.train(model, 20)
    own = ours.build()
    own.load_state_dict(state)
    losses = ours.train(own, 20)
    numpy.testing.assert_allclose(losses, expected, atol=1e-4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", CHANGES)
def test_a_ported_script_trains_without_pytorch(backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded(name, ported(name), monkeypatch)
    tt.seed(0)
    losses = module.train(module.build(), 20)
    assert numpy.isfinite(losses).all()
    assert losses[-1] < losses[0]
