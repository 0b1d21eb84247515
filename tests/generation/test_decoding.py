"""The decoder: its logits with a cache, compared with full forward passes, and its window."""

from __future__ import annotations

import numpy
import pytest

import tinytorch as tt
from tests.generation.models import LENGTH, VOCAB, full_logits, small_model
from tinytorch.backend import Backend
from tinytorch.generation import Decoder, generate
from tinytorch.models import TinyGPT


@pytest.fixture(params=["sinusoidal", "learned"])
def model(backend: Backend, request: pytest.FixtureRequest) -> TinyGPT:
    return small_model(positional=request.param)


@pytest.mark.parametrize("lengths", [[1], [3, 1, 7], [8], [2, 8], [1, 6, 6, 4], [11, 2]])
def test_logits_equal_those_of_a_forward_pass_over_the_current_window(model: TinyGPT, lengths: list[int]) -> None:
    draws = numpy.random.default_rng(0)
    rows = [draws.integers(VOCAB, size=n).tolist() for n in lengths]
    decoder = Decoder(model, rows)
    new = None
    for _ in range(3 * LENGTH):
        logits = decoder.logits(new)
        windows = decoder.window()
        assert logits.shape == (len(rows), VOCAB)
        for row, window, ours in zip(rows, windows, logits.numpy(), strict=True):
            assert row[-len(window) :] == window  # the window is the last tokens, and at least half full
            assert min(len(row), LENGTH // 2) <= len(window) <= LENGTH or len(lengths) > 1
            numpy.testing.assert_allclose(ours, full_logits(model, window), rtol=1e-5, atol=1e-5)
        tokens = draws.integers(VOCAB, size=len(rows))
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.append(token)
        new = tt.asarray(tokens)


def test_tokens_are_dropped_only_when_the_window_is_full(model: TinyGPT) -> None:
    prompt = list(range(2, 2 + LENGTH))
    decoder = Decoder(model, [prompt])
    decoder.logits()
    assert decoder.window() == [prompt]
    decoder.logits(tt.asarray([5]))
    assert decoder.window() == [[*prompt[LENGTH // 2 :], 5]]


def test_a_model_with_a_max_length_of_1_generates(backend: Backend) -> None:
    model = TinyGPT(5, d_model=4, num_heads=1, num_layers=1, max_length=1)
    assert len(generate(model, [1, 2], 4)) == 4


def test_tokens_in_the_first_call_or_none_in_a_later_one_raise(backend: Backend) -> None:
    decoder = Decoder(small_model(), [[1]])
    with pytest.raises(ValueError, match="first call"):
        decoder.logits(tt.asarray([1]))
    decoder.logits()
    with pytest.raises(ValueError, match="first call"):
        decoder.logits()
