"""Suggestions for misspelled names."""

from __future__ import annotations

import pytest

from tinytorch.suggestions import suggest


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("Liner", "; did you mean Linear?"), ("multiheadattention", "; did you mean MultiHeadAttention?"), ("zero_", ""), ("", "")],
)
def test_the_most_similar_name_is_suggested_if_one_is_similar(name: str, suggestion: str) -> None:
    assert suggest(name, ["MultiHeadAttention", "ReLU", "Linear"]) == suggestion
