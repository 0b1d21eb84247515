"""The shapes of a model's parameters, told without making it, and files that are held to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

import tinytorch as tt
from tinytorch.models import TinyGPT
from tinytorch.models.shapes import differences, parameter_count

SETTINGS: dict[str, Any] = {"vocab_size": 50, "d_model": 12, "num_heads": 2, "num_layers": 2, "max_length": 16}
CHANGES: list[dict[str, Any]] = [{}, {"positional": "learned"}, {"tie_weights": True}, {"d_ff": 20}, {"num_layers": 11}]
HUGE = 10**9


def stored(**changes: Any) -> dict[str, tuple[int, ...]]:
    with tt.use_backend("numpy"):
        return {name: tuple(value.shape) for name, value in TinyGPT(**{**SETTINGS, **changes}).state_dict().items()}


@pytest.mark.parametrize("changes", CHANGES)
def test_they_are_those_of_the_model(changes: dict[str, Any]) -> None:
    settings = {**SETTINGS, **changes}
    assert not differences(settings, stored(**changes))
    with tt.use_backend("numpy"):
        model = TinyGPT(**settings)
    assert parameter_count(asdict(model.config)) == model.count_parameters()


def test_each_kind_of_difference_is_named() -> None:
    found = differences({**SETTINGS, "num_layers": 4}, {**stored(), "norm.bias": (13,)})
    assert (len(found.missing), found.missing[0], found.further) == (12, "blocks.2.attention.in_proj_bias", 12)
    assert found.shapes == [("norm.bias", (13,), (12,))]
    found = differences({**SETTINGS, "num_layers": 1, "tie_weights": True}, stored())
    assert (len(found.unknown), found.missing) == (13, [])


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "num_layers", "d_ff", "max_length"])
def test_sizes_that_no_machine_has_room_for_are_told_at_once(name: str) -> None:
    assert differences({**SETTINGS, "positional": "learned", name: HUGE}, stored(positional="learned"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_length": HUGE}, "asks for a table of 12,000,000,000 numbers"),
        ({"num_layers": 0}, "num_layers of 1 or more"),
        ({"d_model": 12.0}, "d_model must be an integer"),
        ({"d_model": None}, "d_model must be an integer, got None"),
        ({"depth": 3}, "depth"),
    ],
)
def test_settings_that_are_not_a_models_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        differences({**SETTINGS, **changes}, stored())
