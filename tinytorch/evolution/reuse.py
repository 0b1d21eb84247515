"""How much of a newer model an older one was made of: measured from what runs, not declared."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import tinytorch
from tinytorch.autograd.graph import topological_order
from tinytorch.autograd.operation import Call
from tinytorch.nn.module import Module
from tinytorch.tensor import Tensor

_LIBRARY = str(Path(tinytorch.__file__).parent) + os.sep  # not the plugins, which may be installed beside it


@dataclass(frozen=True)
class Parts:
    """What a training step of a model was made of.

    Attributes:
        layers: names of the library's layer classes in the module tree.
        operations: names of the operations in the graph.
        lines: (file, line number) of every line of the library that ran.
    """

    layers: frozenset[str]
    operations: frozenset[str]
    lines: frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Reuse:
    """Shares, from 0 to 1, of a model's parts that an earlier model had used already; and the names of those that are new."""

    layers: float
    operations: float
    lines: float
    new_layers: tuple[str, ...]
    new_operations: tuple[str, ...]


def component_reuse(models: Mapping[str, tuple[Module, Callable[[], Tensor]]]) -> dict[str, Reuse]:
    """For each model the share of its parts that the models before it, taken together, had used already.

    Args:
        models: in order of age, by name: a model, and a function that takes one training step with it and returns the loss. The function
            is called twice, so that what happens only once is not counted.

    Returns:
        The reuse by name; the first model's is 0.
    """
    result = {}
    layers: set[str] = set()
    operations: set[str] = set()
    lines: set[tuple[str, int]] = set()
    for name, (model, step) in models.items():
        own = measure_parts(model, step)
        result[name] = Reuse(
            _share(own.layers, layers),
            _share(own.operations, operations),
            _share(own.lines, lines),
            tuple(sorted(own.layers - layers)),
            tuple(sorted(own.operations - operations)),
        )
        layers |= own.layers
        operations |= own.operations
        lines |= own.lines
    return result


def measure_parts(model: Module, step: Callable[[], Tensor]) -> Parts:
    """What ``step``, which returns the loss, is made of."""
    step()
    lines: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_LIBRARY):
            return None
        lines.add((file[len(_LIBRARY) :], frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        loss = step()
    finally:
        sys.settrace(before)
    # a model's own class is what is new by definition; its layers are what it is built of
    layers = {type(module).__name__ for module in model.modules() if type(module).__module__.startswith("tinytorch.nn")}
    nodes = [] if loss.node is None else topological_order(loss.node)
    operations = frozenset(node.operation.__name__ for node in nodes if isinstance(node, Call))
    return Parts(frozenset(layers), operations, frozenset(lines))


def _share(own: frozenset[Any], earlier: set[Any]) -> float:
    return len(own & earlier) / len(own) if own else 0.0
