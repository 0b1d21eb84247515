"""Logits processors, each on its own; `test_sampling.py` holds their use in sampling to the distributions."""

from __future__ import annotations

import math

import tinytorch as tt
from tinytorch.backend import Backend
from tinytorch.generation import LogitsProcessor, MinP, RepetitionPenalty, SuppressTokens, Temperature
from tinytorch.tensor import Tensor, wrap


def applied(processor: LogitsProcessor, logits: Tensor, tokens: Tensor | None = None) -> list[list[float]]:
    raw = processor(logits.backend.xp, logits.raw, None if tokens is None else tokens.raw)
    values: list[list[float]] = wrap(raw, logits.backend).tolist()
    return values


def test_a_repetition_penalty_makes_seen_tokens_less_probable(backend: Backend) -> None:
    logits = tt.asarray([[2.0, -2.0, 1.0, 0.0]])
    assert applied(RepetitionPenalty([[0, 1, 3]], 2.0), logits) == [[1.0, -4.0, 1.0, 0.0]]
    assert applied(RepetitionPenalty([[0, 1, 3]], 0.5), logits) == [[4.0, -1.0, 1.0, 0.0]]


def test_tokens_that_were_chosen_join_the_seen_ones_of_their_row(backend: Backend) -> None:
    logits = tt.asarray([[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    penalty = RepetitionPenalty([[0], [0, 0]], 2.0)
    assert applied(penalty, logits) == [[1.0, 2.0, 2.0], [1.0, 2.0, 2.0]]
    assert applied(penalty, logits, tt.asarray([1, 2])) == [[1.0, 1.0, 2.0], [1.0, 2.0, 1.0]]
    assert applied(penalty, logits, tt.asarray([2, 2])) == [[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]]


def test_suppressed_tokens_and_ids_beyond_the_vocabulary_get_minus_infinity(backend: Backend) -> None:
    assert applied(SuppressTokens(3, {0}), tt.zeros((2, 4))) == [[-math.inf, 0.0, 0.0, -math.inf]] * 2


def test_temperature_divides_and_moves_the_largest_logit_to_zero(backend: Backend) -> None:
    assert applied(Temperature(0.5), tt.asarray([[3.0, 1.0], [0.0, 4.0]])) == [[0.0, -4.0], [-8.0, 0.0]]


def test_min_p_is_relative_to_the_largest_probability_of_the_row(backend: Backend) -> None:
    logits = tt.asarray([[5.0, 4.0, 3.0], [0.0, -0.1, -9.0]])
    assert applied(MinP(0.3), logits) == [[5.0, 4.0, -math.inf], [0.0, logits[1, 1].item(), -math.inf]]
