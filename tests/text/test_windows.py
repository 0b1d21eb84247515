"""Splits and windows: nothing is predicted twice, and too little text says how much is missing."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given, strategies as st

from tinytorch.io.errors import InputError
from tinytorch.text import random_windows, remaining_window, sequential_windows, sliding_windows, split_text


def test_the_first_nine_tenths_train_and_the_rest_validates() -> None:
    # The length of Tiny Shakespeare, and the split that nanoGPT makes of it.
    training, validation = split_text(numpy.arange(1_115_394))
    assert (len(training), len(validation)) == (1_003_854, 111_540)
    assert training[-1] + 1 == validation[0]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 10), (0.1, 9), (0.3, 7), (0.7, 3), (0.9, 1)])
def test_a_split_is_exact_where_binary_fractions_are_not(share: float, expected: int) -> None:
    training, validation = split_text("0123456789", share)
    assert len(training) == expected
    assert training + validation == "0123456789"


@pytest.mark.parametrize(("data", "share"), [("abc", 0.9), ("", 0.1), ("", 0.0)])
def test_a_split_that_leaves_a_part_empty_is_refused(data: str, share: float) -> None:
    with pytest.raises(InputError, match="give more text"):
        split_text(data, share)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="at least 0 and under 1"):
        split_text("abc", share)


def test_random_windows_are_pieces_of_the_text_and_reach_both_ends() -> None:
    tokens = numpy.arange(6)
    windows = random_windows(tokens, 3, 200, numpy.random.default_rng(0))
    assert windows.shape == (200, 4)
    numpy.testing.assert_array_equal(windows - windows[:, :1], numpy.broadcast_to(numpy.arange(4), (200, 4)))
    assert set(windows[:, 0].tolist()) == {0, 1, 2}


def test_random_windows_follow_the_seed() -> None:
    tokens = numpy.arange(100)
    first, again, other = (random_windows(tokens, 5, 8, numpy.random.default_rng(seed)) for seed in (1, 1, 2))
    numpy.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_windows_are_copies() -> None:
    tokens = numpy.arange(5)
    for windows in (random_windows(tokens, 4, 1, numpy.random.default_rng(0)), sequential_windows(tokens, 4)):
        windows[:] = -1
    numpy.testing.assert_array_equal(tokens, numpy.arange(5))


def test_sequential_windows_share_the_token_between_them() -> None:
    tokens = numpy.arange(9)
    assert sequential_windows(tokens, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]
    remaining = remaining_window(tokens, 3)
    assert remaining is not None
    assert remaining.tolist() == [[6, 7, 8]]


@given(n=st.integers(2, 60), seq_length=st.integers(1, 20))
def test_sequential_windows_and_the_remaining_one_predict_every_token_but_the_first_once(n: int, seq_length: int) -> None:
    tokens = numpy.arange(n)
    predicted: list[int] = []
    if n > seq_length:
        predicted += sequential_windows(tokens, seq_length)[:, 1:].ravel().tolist()
    remaining = remaining_window(tokens, seq_length)
    if remaining is not None:
        predicted += remaining[:, 1:].ravel().tolist()
    assert predicted == list(range(1, n))


@pytest.mark.parametrize(
    ("n", "message"),
    [
        (4, "there are 4 tokens, and one window of sequence length 8 needs 9: use a `seq_length` of at most 3, or give more text"),
        (8, "there are 8 tokens, and one window of sequence length 8 needs 9: use a `seq_length` of at most 7, or give more text"),
        (1, "there are 1 tokens, and one window of sequence length 8 needs 9: give more text"),
    ],
)
def test_too_little_text_says_how_much_there_is_how_much_is_needed_and_the_mend(n: int, message: str) -> None:
    with pytest.raises(InputError) as random:
        random_windows(numpy.arange(n), 8, 2, numpy.random.default_rng(0))
    with pytest.raises(InputError) as sequential:
        sequential_windows(numpy.arange(n), 8)
    assert str(random.value) == str(sequential.value) == message


def test_just_enough_text_gives_one_window() -> None:
    tokens = numpy.arange(9)
    numpy.testing.assert_array_equal(random_windows(tokens, 8, 1, numpy.random.default_rng(0)), tokens[None])
    numpy.testing.assert_array_equal(sequential_windows(tokens, 8), tokens[None])
    assert remaining_window(tokens, 8) is None


def test_a_length_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1, and it is 0"):
        sequential_windows(numpy.arange(9), 0)


@given(st.integers(2, 60), st.integers(1, 20), st.data())
def test_sliding_windows_predict_each_token_but_the_first_once(count: int, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length))
    tokens = numpy.arange(count)
    parts = numpy.split(tokens, sorted(data.draw(st.lists(st.integers(0, count), max_size=5))))
    batch_size = data.draw(st.integers(1, 5))
    batches = list(sliding_windows(iter(parts), length, stride, batch_size))
    assert all(len(windows) == len(firsts) <= batch_size for windows, firsts in batches)
    windows, firsts = (numpy.concatenate(arrays) for arrays in zip(*batches, strict=True))
    assert windows.shape[1] == min(length, count - 1) + 1
    assert len(windows) == max(0, -(-(count - 1 - length) // stride)) + 1
    predicted = [window[first:].tolist() for window, first in zip(windows, firsts, strict=True)]
    assert [token for part in predicted for token in part] == list(range(1, count))
    for window, first in zip(windows, firsts, strict=True):
        numpy.testing.assert_array_equal(window - window[0], numpy.arange(len(window)))
        assert first >= min(length - stride + 1, window[first])  # so many tokens are there to look back on


def test_a_window_that_cannot_slide_so_is_refused() -> None:
    with pytest.raises(InputError, match="there are 1 tokens, and nothing to predict"):
        list(sliding_windows(numpy.arange(1), 4, 2, 3))
    for stride in (0, 5):
        with pytest.raises(InputError, match="the stride must be at least 1 and at most the model's 4 tokens"):
            sliding_windows(numpy.arange(9), 4, stride, 3)
