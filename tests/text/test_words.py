"""Splitting texts at word boundaries: the parts concatenate to the text, and have the same tokens."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from tinytorch.text.words import whole_words

TEXTS = st.text(st.sampled_from("ab \n\t\r\u00a0é'1.🐢"), max_size=60)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(text=TEXTS, size=st.integers(1, 20))
def test_parts_concatenate_to_the_text_and_end_at_word_boundaries(text: str, size: int) -> None:
    parts = list(whole_words(text[i : i + size] for i in range(0, len(text), size)))
    assert "".join(parts) == text
    assert all(parts)
    for left, right in pairwise(parts):
        assert not left[-1].isspace()
        assert right[0] in " \n"
        assert not right[1].isspace()


def test_a_text_without_word_boundaries_is_split_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytorch.text.words._LONGEST", 10)
    assert list(whole_words(["aaaa"] * 5)) == ["a" * 12, "a" * 8]


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(text=TEXTS.filter(bool), size=st.integers(1, 20))
def test_the_tokens_of_the_parts_are_those_of_the_whole_text(text: str, size: int) -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    from tinytorch.text import BPETokenizer

    tokenizer = BPETokenizer.train("ab  ab \n\n a'b 1é. \n" * 30, 290)
    parts = whole_words(text[i : i + size] for i in range(0, len(text), size))
    assert [i for part in parts for i in tokenizer.encode(part)] == tokenizer.encode(text)
