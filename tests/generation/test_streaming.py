"""Streamers: the text that each token adds, and the text that is held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tinytorch.generation import TextStreamer


class FakeTokenizer:
    """A tokenizer with given tokens, and the two bytes of one character as its last two tokens."""

    kind: ClassVar[str] = "fake"
    special_ids: ClassVar[Sequence[int]] = ()

    def __init__(self, *tokens: str) -> None:
        self.tokens = [token.encode() for token in tokens] + ["é".encode()[:1], "é".encode()[1:]]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return b"".join(self.tokens[i] for i in ids).decode(errors="replace")


def parts_of(tokens: list[str], stop: list[str], ids: list[int] | None = None) -> list[str]:
    ids = list(range(len(tokens))) if ids is None else ids
    row = TextStreamer(FakeTokenizer(*tokens), set(), stop)  # type: ignore[arg-type]
    return [row.put(i, last=step == len(ids) - 1) for step, i in enumerate(ids)]


def test_a_possible_beginning_of_a_stop_text_is_held_back_across_tokens() -> None:
    assert parts_of(["a\n", "\nU", "ser:", "x"], ["\n\nUser:"]) == ["a", "", "", ""]
    assert parts_of(["a\n", "\nU", "se", "x", "y"], ["\n\nUser:"]) == ["a", "", "", "\n\nUsex", "y"]
    assert parts_of(["ab", "ab", "ac"], ["abac"]) == ["", "ab", ""]
    assert parts_of(["xxSTOPyy", "z"], ["STOP"]) == ["xx", ""]


def test_the_earliest_of_several_stop_texts_ends_the_row() -> None:
    assert parts_of(["1;2", ".3"], [".", ";"]) == ["1", ""]
    assert parts_of(["abcd"], ["cd", "bc"]) == ["a"]


def test_the_last_token_returns_the_text_held_back() -> None:
    assert parts_of(["a", "\n"], ["\n\n"]) == ["a", "\n"]


def test_half_a_character_is_held_back_until_the_other_half() -> None:
    assert parts_of(["a"], [], ids=[0, 1, 2, 0]) == ["a", "", "é", "a"]
    assert parts_of(["a"], [], ids=[0, 1]) == ["a", ""]  # the other half is missing
    assert parts_of(["a"], [], ids=[1, 1]) == ["", "\ufffd"]  # the first token is an invalid byte, decoded to the replacement character
    assert parts_of(["a"], [], ids=[1, 0]) == ["", "\ufffda"]
