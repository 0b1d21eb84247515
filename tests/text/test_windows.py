"""Splits and windows: no token is a target twice, and errors for short texts say how much text is needed."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given, strategies as st

from tinytorch.io.errors import InputError
from tinytorch.text import random_windows, remaining_window, sequential_windows, sliding_windows, split_text


def test_the_default_is_nine_tenths_for_training_and_the_rest_for_validation() -> None:
    # the length of Tiny Shakespeare, and the sizes of nanoGPT's splits
    training, validation = split_text(numpy.arange(1_115_394))
    assert (len(training), len(validation)) == (1_003_854, 111_540)
    assert training[-1] + 1 == validation[0]


@pytest.mark.parametrize(("val_split", "expected"), [(0.0, 10), (0.1, 9), (0.3, 7), (0.7, 3), (0.9, 1)])
def test_the_split_is_exact_for_decimal_fractions(val_split: float, expected: int) -> None:
    training, validation = split_text("0123456789", val_split)
    assert len(training) == expected
    assert training + validation == "0123456789"


@pytest.mark.parametrize(("data", "val_split"), [("abc", 0.9), ("", 0.1), ("", 0.0)])
def test_an_empty_split_raises(data: str, val_split: float) -> None:
    with pytest.raises(InputError, match="pass more text"):
        split_text(data, val_split)


@pytest.mark.parametrize("val_split", [-0.1, 1.0, float("nan")])
def test_a_val_split_out_of_range_raises(val_split: float) -> None:
    with pytest.raises(InputError, match="`val_split` must be at least 0 and less than 1"):
        split_text("abc", val_split)


def test_random_windows_are_slices_of_the_text_and_include_both_ends() -> None:
    tokens = numpy.arange(6)
    windows = random_windows(tokens, 3, 200, numpy.random.default_rng(0))
    assert windows.shape == (200, 4)
    numpy.testing.assert_array_equal(windows - windows[:, :1], numpy.broadcast_to(numpy.arange(4), (200, 4)))
    assert set(windows[:, 0].tolist()) == {0, 1, 2}


def test_random_windows_depend_on_the_seed() -> None:
    tokens = numpy.arange(100)
    first, again, other = (random_windows(tokens, 5, 8, numpy.random.default_rng(seed)) for seed in (1, 1, 2))
    numpy.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_windows_are_copies() -> None:
    tokens = numpy.arange(5)
    for windows in (random_windows(tokens, 4, 1, numpy.random.default_rng(0)), sequential_windows(tokens, 4)):
        windows[:] = -1
    numpy.testing.assert_array_equal(tokens, numpy.arange(5))


def test_sequential_windows_overlap_in_one_token() -> None:
    tokens = numpy.arange(9)
    assert sequential_windows(tokens, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]
    remaining = remaining_window(tokens, 3)
    assert remaining is not None
    assert remaining.tolist() == [[6, 7, 8]]


@given(n=st.integers(2, 60), seq_length=st.integers(1, 20))
def test_sequential_windows_and_the_remaining_one_have_every_token_but_the_first_as_target_once(n: int, seq_length: int) -> None:
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
        (4, "there are 4 tokens, and one window of sequence length 8 needs 9: use a `seq_length` of at most 3, or pass more text"),
        (8, "there are 8 tokens, and one window of sequence length 8 needs 9: use a `seq_length` of at most 7, or pass more text"),
        (1, "there are 1 tokens, and one window of sequence length 8 needs 9: pass more text"),
    ],
)
def test_the_error_for_too_few_tokens_says_how_many_are_needed_and_what_to_do(n: int, message: str) -> None:
    with pytest.raises(InputError) as random:
        random_windows(numpy.arange(n), 8, 2, numpy.random.default_rng(0))
    with pytest.raises(InputError) as sequential:
        sequential_windows(numpy.arange(n), 8)
    assert str(random.value) == str(sequential.value) == message


def test_the_minimum_number_of_tokens_gives_one_window() -> None:
    tokens = numpy.arange(9)
    numpy.testing.assert_array_equal(random_windows(tokens, 8, 1, numpy.random.default_rng(0)), tokens[None])
    numpy.testing.assert_array_equal(sequential_windows(tokens, 8), tokens[None])
    assert remaining_window(tokens, 8) is None


def test_a_seq_length_of_zero_raises() -> None:
    with pytest.raises(InputError, match="`seq_length` must be at least 1, got 0"):
        sequential_windows(numpy.arange(9), 0)


@given(st.integers(2, 60), st.integers(1, 20), st.data())
def test_sliding_windows_have_every_token_but_the_first_as_counted_target_once(count: int, length: int, data: st.DataObject) -> None:
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
        assert first >= min(length - stride + 1, window[first])  # length of the context


def test_too_few_tokens_or_an_invalid_stride_raise() -> None:
    with pytest.raises(InputError, match="at least 2 tokens are needed to predict one, got 1"):
        list(sliding_windows(numpy.arange(1), 4, 2, 3))
    for stride in (0, 5):
        with pytest.raises(InputError, match="`stride` must be at least 1 and at most the window's 4 tokens"):
            sliding_windows(numpy.arange(9), 4, stride, 3)
