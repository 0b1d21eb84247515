"""The bigram baseline, compared with a loop over the text."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from tinytorch.io.errors import InputError
from tinytorch.text import bigram_bits
from tinytorch.text.bigram import Bigrams


def bits_by_loop(text: str) -> float:
    pairs: Counter[tuple[str, str]] = Counter()
    followed: Counter[str] = Counter()
    single: Counter[str] = Counter(text[:1])
    bits = 0.0
    for i in range(1, len(text)):
        before, after = text[i - 1], text[i]
        alone = (single[after] + 1) / (i + len(set(text)))
        bits -= math.log2((pairs[before, after] + 5 * alone) / (followed[before] + 5))
        pairs[before, after] += 1
        followed[before] += 1
        single[after] += 1
    return bits / (len(text) - 1)


@pytest.mark.parametrize("text", ["ab", "aa", "to be, or not to be: that is the question 🐢", "abcabcabd" * 20])
def test_bigram_bits_equal_those_of_a_loop(text: str) -> None:
    assert bigram_bits(text) == pytest.approx(bits_by_loop(text), rel=1e-12)


@given(st.text(st.sampled_from("ab c🐢"), min_size=2, max_size=60), st.integers(1, 9), st.integers(1, 30))
def test_adding_a_text_in_parts_gives_the_same_bits(text: str, at_once: int, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinytorch.text.bigram._AT_ONCE", at_once)
        baseline = Bigrams(set(text))
        for start in range(0, len(text), size):
            baseline.add(text[start : start + size])
        assert baseline.bits == pytest.approx(bits_by_loop(text), rel=1e-12, abs=1e-15)


def test_a_constant_text_has_zero_bits() -> None:
    assert bigram_bits("a" * 99) == 0.0


def test_a_text_that_its_bigrams_determine_has_almost_zero_bits() -> None:
    assert bigram_bits("ab" * 5000) < 0.01


def test_a_text_of_one_character_raises() -> None:
    with pytest.raises(InputError, match="needs a text of at least two characters"):
        bigram_bits("a")
