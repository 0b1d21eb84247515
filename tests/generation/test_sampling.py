"""Choosing tokens: greedy, temperature, min-p, top-k, nucleus and Gumbel sampling, on every backend."""

from __future__ import annotations

import math

import numpy
import pytest
from numpy.typing import ArrayLike, NDArray

import tinytorch as tt
from tinytorch.backend import Backend
from tinytorch.generation import MinPLogitsWarper, TemperatureLogitsWarper, greedy, sample
from tinytorch.generation.sampling import NO_TOKEN
from tinytorch.tensor import Tensor, wrap

PROBABILITIES = [0.05, 0.4, 0.02, 0.3, 0.1, 0.13]
DRAWS = 20_000


def logits_of(probabilities: ArrayLike, rows: int) -> Tensor:
    """The same row of logits, ``rows`` times; not normalized, as logits of models are not."""
    row = numpy.log(numpy.asarray(probabilities)) + 7.0
    return tt.asarray(numpy.tile(row.astype("float32"), (rows, 1)))


def uniform(backend: Backend, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return wrap(backend.rng(seed).uniform(shape), backend)


def chosen(
    logits: Tensor,
    noise: Tensor,
    temperature: float = 1.0,
    min_p: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """The tokens that `tinytorch.generation.generate` chooses."""
    backend, raw = logits.backend, logits.raw
    if temperature == 0:
        return wrap(greedy(backend.xp, raw), backend)
    for processor in (TemperatureLogitsWarper(temperature), *([MinPLogitsWarper(min_p)] if min_p else [])):
        raw = processor(backend.xp, raw, None)
    return wrap(sample(backend.xp, raw, noise.raw, top_k, top_p), backend)


def counts(backend: Backend, **settings: float | int) -> NDArray[numpy.int64]:
    """How often each token is chosen in `DRAWS` draws."""
    tokens = chosen(logits_of(PROBABILITIES, DRAWS), uniform(backend, (DRAWS, 6)), **settings)  # type: ignore[arg-type]
    assert tokens.backend is backend
    assert tokens.shape == (DRAWS,)
    return numpy.bincount(tokens.numpy(), minlength=6)


def assert_distributed(observed: NDArray[numpy.int64], probabilities: ArrayLike) -> None:
    """Pearson's chi-squared is below its 99.9th percentile for 5 degrees of freedom, and tokens of probability 0 are never chosen."""
    expected = numpy.asarray(probabilities) / numpy.sum(probabilities) * DRAWS
    possible = expected > 0
    assert not observed[~possible].any()
    assert float(numpy.sum((observed - expected)[possible] ** 2 / expected[possible])) < 20.5


def test_samples_follow_the_softmax_of_the_logits(backend: Backend) -> None:
    assert_distributed(counts(backend), PROBABILITIES)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(backend: Backend, temperature: float) -> None:
    assert_distributed(counts(backend, temperature=temperature), numpy.asarray(PROBABILITIES) ** (1 / temperature))


def test_top_k_samples_among_the_k_most_probable_tokens(backend: Backend) -> None:
    assert_distributed(counts(backend, top_k=3), [0, 0.4, 0, 0.3, 0, 0.13])


@pytest.mark.parametrize(
    ("top_p", "nucleus"),
    [(0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 3, 5]), (0.97, [0, 1, 3, 4, 5]), (1.0, [0, 1, 2, 3, 4, 5])],
)
def test_top_p_samples_from_the_smallest_set_with_that_probability(backend: Backend, top_p: float, nucleus: list[int]) -> None:
    kept = [p if i in nucleus else 0 for i, p in enumerate(PROBABILITIES)]
    assert_distributed(counts(backend, top_p=top_p), kept)


@pytest.mark.parametrize(
    ("min_p", "kept"), [(0.0, [0, 1, 2, 3, 4, 5]), (0.06, [0, 1, 3, 4, 5]), (0.3, [1, 3, 5]), (0.74, [1, 3]), (0.76, [1]), (1.0, [1])]
)
def test_min_p_samples_among_tokens_relative_to_the_largest_probability(backend: Backend, min_p: float, kept: list[int]) -> None:
    assert_distributed(counts(backend, min_p=min_p), [p if i in kept else 0 for i, p in enumerate(PROBABILITIES)])


def test_min_p_applies_after_temperature_and_combines_with_top_k_and_top_p(backend: Backend) -> None:
    # at temperature 2 the probabilities relative to the largest are square roots: 0.35, 1, 0.22, 0.87, 0.5, 0.57
    roots = numpy.sqrt(PROBABILITIES)
    assert_distributed(counts(backend, min_p=0.4, temperature=2.0), [0, roots[1], 0, roots[3], roots[4], roots[5]])
    assert_distributed(counts(backend, min_p=0.3, top_k=2), [0, 0.4, 0, 0.3, 0, 0])
    assert_distributed(counts(backend, min_p=0.3, top_p=0.5), [0, 0.4, 0, 0.3, 0, 0])


def test_the_nucleus_is_taken_after_temperature_and_top_k(backend: Backend) -> None:
    # of the four most probable tokens, 0.4 0.3 0.13 0.1, the first two have 0.75 of the sum; at temperature 0.5 they have 0.90
    assert_distributed(counts(backend, top_k=4, top_p=0.8), [0, 0.4, 0, 0.3, 0, 0.13])
    assert_distributed(counts(backend, top_k=4, top_p=0.8, temperature=0.5), [0, 0.16, 0, 0.09, 0, 0])


def test_filters_keep_the_exact_number_of_equally_probable_tokens(backend: Backend) -> None:
    logits = tt.zeros((DRAWS, 8))
    noise = uniform(backend, (DRAWS, 8))
    assert len(set(chosen(logits, noise, top_k=3).tolist())) == 3
    assert len(set(chosen(logits, noise, top_p=0.25).tolist())) == 2


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-60}, {"temperature": 1e-60}, {"temperature": 5e-324}]
)
def test_settings_at_their_limits_are_greedy(backend: Backend, settings: dict[str, float]) -> None:
    logits = uniform(backend, (50, 30), seed=1)
    tokens = chosen(logits, uniform(backend, (50, 30)), **settings)  # type: ignore[arg-type]
    assert tokens.tolist() == tt.argmax(logits, axis=-1).tolist()


def test_top_k_larger_than_the_vocabulary_and_top_p_1_have_no_effect(backend: Backend) -> None:
    logits, noise = uniform(backend, (50, 30), seed=1), uniform(backend, (50, 30))
    free = chosen(logits, noise).tolist()
    assert chosen(logits, noise, top_k=99).tolist() == free
    assert chosen(logits, noise, top_p=1.0).tolist() == free


def test_tokens_of_probability_0_are_never_chosen_even_with_extreme_noise(backend: Backend) -> None:
    logits = tt.asarray([[-math.inf, 0.0, -math.inf], [-math.inf, -math.inf, 3.0]])
    for extreme in (0.0, 1.0):
        for settings in ({}, {"top_k": 2}, {"top_p": 0.9}, {"temperature": 1e-9}):
            assert chosen(logits, tt.full((2, 3), extreme), **settings).tolist() == [1, 2]  # type: ignore[arg-type]


def test_rows_without_finite_logits_return_no_token(backend: Backend) -> None:
    logits = tt.asarray([[math.nan, 1.0], [0.0, 1.0]])
    assert wrap(greedy(backend.xp, logits.raw), backend).tolist() == [NO_TOKEN, 1]
    assert chosen(logits, tt.full((2, 2), 0.5)).tolist() == [NO_TOKEN, 1]
    assert chosen(logits, tt.full((2, 2), 0.5), top_p=0.5).tolist() == [NO_TOKEN, 1]


def test_sampling_does_not_depend_on_the_normalization_of_the_logits(backend: Backend) -> None:
    logits, noise = uniform(backend, (50, 30), seed=1), uniform(backend, (50, 30))
    for settings in ({}, {"top_k": 4}, {"top_p": 0.5}):
        shifted = sample(backend.xp, (logits + 64.0).raw, noise.raw, **settings)  # type: ignore[arg-type]
        assert wrap(shifted, backend).tolist() == wrap(sample(backend.xp, logits.raw, noise.raw, **settings), backend).tolist()  # type: ignore[arg-type]
