"""Parameter shapes computed from the settings, and their comparison with the arrays in a file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

import tinytorch as tt
from tinytorch.models import TinyGPT
from tinytorch.models.shapes import compare_shapes, parameter_count

SETTINGS: dict[str, Any] = {"vocab_size": 50, "d_model": 12, "num_heads": 2, "num_layers": 2, "max_length": 16}
CHANGES: list[dict[str, Any]] = [{}, {"positional": "learned"}, {"tie_weights": True}, {"d_ff": 20}, {"num_layers": 11}]
HUGE = 10**9


def stored(**changes: Any) -> dict[str, tuple[int, ...]]:
    with tt.use_backend("numpy"):
        return {name: tuple(value.shape) for name, value in TinyGPT(**{**SETTINGS, **changes}).state_dict().items()}


@pytest.mark.parametrize("changes", CHANGES)
def test_shapes_and_counts_equal_those_of_the_model(changes: dict[str, Any]) -> None:
    settings = {**SETTINGS, **changes}
    assert not compare_shapes(settings, stored(**changes))
    with tt.use_backend("numpy"):
        model = TinyGPT(**settings)
    assert parameter_count(asdict(model.config)) == model.count_parameters()


def test_every_kind_of_difference_is_reported() -> None:
    difference = compare_shapes({**SETTINGS, "num_layers": 4}, {**stored(), "norm.bias": (13,)})
    assert (len(difference.missing), difference.missing[0], difference.more_missing) == (12, "blocks.2.attention.in_proj_bias", 12)
    assert difference.shapes == [("norm.bias", (13,), (12,))]
    difference = compare_shapes({**SETTINGS, "num_layers": 1, "tie_weights": True}, stored())
    assert (len(difference.unknown), difference.missing) == (13, [])


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "num_layers", "d_ff", "max_length"])
def test_huge_sizes_are_compared_without_allocating_memory(name: str) -> None:
    assert compare_shapes({**SETTINGS, "positional": "learned", name: HUGE}, stored(positional="learned"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": HUGE}, "needs a sinusoidal table of 12,000,000,000 elements"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"d_model": 12.0}, "d_model must be an integer"),
        ({"d_model": None}, "d_model must be an integer, got None"),
        ({"depth": 3}, "depth"),
    ],
)
def test_bad_settings_raise(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        compare_shapes({**SETTINGS, **changes}, stored())
