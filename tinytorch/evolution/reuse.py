"""Measure which fraction of a model's layers, operations and lines of code earlier models also use, by tracing a training step."""

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

_LIBRARY = str(Path(tinytorch.__file__).parent) + os.sep  # without the plugins, which may be installed in the same directory


@dataclass(frozen=True)
class Components:
    """The components used by a training step of a model.

    Attributes:
        layers: names of the library's layer classes in the module tree.
        operations: names of the operations in the graph.
        lines: (file, line number) of every executed line of the library.
    """

    layers: frozenset[str]
    operations: frozenset[str]
    lines: frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Reuse:
    """Fractions of a model's components that earlier models also use, and the names of its new components.

    Attributes:
        layers: fraction of layer classes, from 0 to 1.
        operations: fraction of operations, from 0 to 1.
        lines: fraction of executed lines, from 0 to 1.
        new_layers: names of the layer classes that no earlier model uses.
        new_operations: names of the operations that no earlier model uses.
    """

    layers: float
    operations: float
    lines: float
    new_layers: tuple[str, ...]
    new_operations: tuple[str, ...]


def component_reuse(models: Mapping[str, tuple[Module, Callable[[], Tensor]]]) -> dict[str, Reuse]:
    """Compute for each model the fraction of its components that the models before it also use.

    Args:
        models: models by name, in chronological order, each with a function that runs one training step and returns the loss. The
            function is called twice and only the second call is measured, which excludes one-time initialization.

    Returns:
        The reuse by model name; that of the first model is 0.
    """
    result = {}
    layers: set[str] = set()
    operations: set[str] = set()
    lines: set[tuple[str, int]] = set()
    for name, (model, step) in models.items():
        own = measure_components(model, step)
        result[name] = Reuse(
            _fraction(own.layers, layers),
            _fraction(own.operations, operations),
            _fraction(own.lines, lines),
            tuple(sorted(own.layers - layers)),
            tuple(sorted(own.operations - operations)),
        )
        layers |= own.layers
        operations |= own.operations
        lines |= own.lines
    return result


def measure_components(model: Module, step: Callable[[], Tensor]) -> Components:
    """Find the components used by ``step``, which runs a training step and returns the loss."""
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
    # only layers count: the class of the model itself is always new
    layers = {type(module).__name__ for module in model.modules() if type(module).__module__.startswith("tinytorch.nn")}
    nodes = [] if loss.node is None else topological_order(loss.node)
    operations = frozenset(node.operation.__name__ for node in nodes if isinstance(node, Call))
    return Components(frozenset(layers), operations, frozenset(lines))


def _fraction(own: frozenset[Any], earlier: set[Any]) -> float:
    return len(own & earlier) / len(own) if own else 0.0
