"""Sampling settings: their ranges and defaults."""

from __future__ import annotations

import math

import pytest

from tinytorch.generation import SamplingConfig
from tinytorch.io.errors import InputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "`temperature` must be finite and at least 0, got -0.1; 0 is greedy"),
        ({"temperature": math.nan}, "`temperature` must be finite"),
        ({"temperature": math.inf}, "`temperature` must be finite"),
        ({"top_k": 0}, "`top_k` must be at least 1, got 0; leave it out"),
        ({"top_p": 0.0}, "`top_p` must be in (0, 1], got 0.0; leave it out"),
        ({"top_p": 1.1}, "`top_p` must be in (0, 1], got 1.1"),
        ({"min_p": -0.1}, "`min_p` must be in [0, 1], got -0.1; leave it out"),
        ({"min_p": 1.1}, "`min_p` must be in [0, 1], got 1.1"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` must be finite and above 0, got 0.0; 1 is no penalty"),
        ({"repetition_penalty": math.nan}, "`repetition_penalty` must be finite"),
    ],
)
def test_settings_out_of_range_raise_with_the_allowed_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        SamplingConfig(**settings)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_the_defaults_sample_from_the_unmodified_distribution() -> None:
    assert SamplingConfig() == SamplingConfig(temperature=1.0, top_k=None, top_p=None, min_p=None, repetition_penalty=1.0)
