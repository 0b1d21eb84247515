"""Logits processors, each alone; `test_sampling.py` tests the distributions that they give."""

from __future__ import annotations

import math

import tinytorch as tt
from tinytorch.backend import Backend
from tinytorch.generation import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
)
from tinytorch.tensor import Tensor, wrap


def applied(processor: LogitsProcessor, logits: Tensor, tokens: Tensor | None = None) -> list[list[float]]:
    raw = processor(logits.backend.xp, logits.raw, None if tokens is None else tokens.raw)
    values: list[list[float]] = wrap(raw, logits.backend).tolist()
    return values


def test_a_repetition_penalty_makes_seen_tokens_less_probable(backend: Backend) -> None:
    logits = tt.asarray([[2.0, -2.0, 1.0, 0.0]])
    assert applied(RepetitionPenaltyLogitsProcessor([[0, 1, 3]], 2.0), logits) == [[1.0, -4.0, 1.0, 0.0]]
    assert applied(RepetitionPenaltyLogitsProcessor([[0, 1, 3]], 0.5), logits) == [[4.0, -1.0, 1.0, 0.0]]


def test_a_repetition_penalty_applies_to_chosen_tokens_of_the_same_row(backend: Backend) -> None:
    logits = tt.asarray([[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    penalty = RepetitionPenaltyLogitsProcessor([[0], [0, 0]], 2.0)
    assert applied(penalty, logits) == [[1.0, 2.0, 2.0], [1.0, 2.0, 2.0]]
    assert applied(penalty, logits, tt.asarray([1, 2])) == [[1.0, 1.0, 2.0], [1.0, 2.0, 1.0]]
    assert applied(penalty, logits, tt.asarray([2, 2])) == [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]]


def test_suppressed_tokens_and_ids_outside_the_vocabulary_get_minus_infinity(backend: Backend) -> None:
    assert applied(SuppressTokensLogitsProcessor(3, {0}), tt.zeros((2, 4))) == [[-math.inf, 0.0, 0.0, -math.inf]] * 2


def test_temperature_subtracts_the_largest_logit_and_divides(backend: Backend) -> None:
    assert applied(TemperatureLogitsWarper(0.5), tt.asarray([[3.0, 1.0], [0.0, 4.0]])) == [[0.0, -4.0], [-8.0, 0.0]]


def test_min_p_is_relative_to_the_largest_probability_of_the_row(backend: Backend) -> None:
    logits = tt.asarray([[5.0, 4.0, 3.0], [0.0, -0.1, -9.0]])
    assert applied(MinPLogitsWarper(0.3), logits) == [[5.0, 4.0, -math.inf], [0.0, logits[1, 1].item(), -math.inf]]
