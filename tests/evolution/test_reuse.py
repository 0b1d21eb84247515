"""Component reuse is measured by tracing a training step."""

from __future__ import annotations

from collections.abc import Callable

import tinytorch as tt
from tinytorch import nn
from tinytorch.evolution.reuse import component_reuse, measure_components
from tinytorch.tensor import Tensor


def one_step(model: nn.Module) -> Callable[[], Tensor]:
    def step() -> Tensor:
        loss = tt.sum(model(tt.ones((2, 3))))
        loss.backward()
        return loss

    return step


def test_a_model_with_the_same_components_reuses_all_of_them(backend: object) -> None:
    old, new = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    reuse = component_reuse({"old": (old, one_step(old)), "new": (new, one_step(new))})["new"]
    assert (reuse.layers, reuse.operations, reuse.lines) == (1.0, 1.0, 1.0)
    assert reuse.new_layers == reuse.new_operations == ()


def test_a_new_layer_is_named_and_counted(backend: object) -> None:
    old, new = nn.Sequential(nn.Linear(3, 4)), nn.Sequential(nn.Linear(3, 4), nn.GELU())
    reuse = component_reuse({"old": (old, one_step(old)), "new": (new, one_step(new))})["new"]
    assert reuse.new_layers == ("GELU",)
    assert reuse.new_operations == ("gelu",)
    assert reuse.layers == 2 / 3  # Sequential and Linear are reused, GELU is new
    assert 0.5 < reuse.lines < 1.0


def test_the_first_model_has_nothing_to_reuse(backend: object) -> None:
    model = nn.Linear(3, 1)
    assert component_reuse({"first": (model, one_step(model))})["first"].layers == 0.0


def test_operations_are_those_in_the_graph(backend: object) -> None:
    model = nn.Linear(3, 1)
    assert measure_components(model, one_step(model)).operations == {"linear", "sum"}
