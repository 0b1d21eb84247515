"""`tinytorch chat`: answers, commands and errors."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.tiny import Command, Result
from tinytorch.text import Tokenizer

Chat = Callable[..., Result]


@pytest.fixture
def chat(run: str, tinytorch: Command, monkeypatch: pytest.MonkeyPatch) -> Chat:
    """Run a chat with a tiny model: input lines, then options."""

    def talk(lines: str, *options: str) -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return tinytorch("chat", run, "--length", "20", "--seed", "1", *options)

    return talk


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces generation by a fixed answer and records the prompts."""
    seen: list[str] = []

    def answering(model: Any, ids: list[int], length: int, *, tokenizer: Tokenizer, **arguments: Any) -> Iterator[str]:
        seen.append(tokenizer.decode(ids))
        yield "be "
        yield "so"

    monkeypatch.setattr("tinytorch.generation.chat.stream", answering)
    return seen


def test_each_line_gets_an_answer(chat: Chat) -> None:
    result = chat("To be\nor not\n")
    assert (result.code, result.err) == (0, "")
    first, _, answers = result.out.partition("\n\n")
    assert "parameters, numpy:cpu. Type a line" in first
    assert len(answers) > 20
    assert chat("To be\nor not\n").out == result.out
    assert chat("To be\nor not\n", "--temperature", "2").out != result.out


def test_new_starts_a_new_conversation(chat: Chat, prompts: list[str]) -> None:
    assert chat("To\n\n/new\nor\n").code == 0
    assert prompts == ["To\n", "o\nbe so\n", "or\n"]


def test_a_template_formats_each_line(chat: Chat, prompts: list[str]) -> None:
    assert chat("or\n", "--template", r"T: {}\nb").code == 0
    assert prompts == ["T: or\nb"]


def test_an_unknown_character_does_not_end_the_conversation(chat: Chat, prompts: list[str]) -> None:
    result = chat("tö\nto\n")
    assert result.code == 0
    assert result.err == "error: the message has characters that are not in the tokenizer's vocabulary: 'ö'; leave them out\n"
    assert prompts == ["to\n"]


def test_an_empty_first_line_is_an_error(chat: Chat) -> None:
    result = chat("\n")
    assert (result.code, result.err) == (0, "error: the conversation is empty, so there is no answer to continue; enter a message\n")


def test_ctrl_c_ends_an_answer_and_not_the_conversation(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def interrupted(model: Any, ids: list[int], length: int, *, tokenizer: Tokenizer, **arguments: Any) -> Iterator[str]:
        seen.append(tokenizer.decode(ids))
        yield "be"
        raise KeyboardInterrupt

    monkeypatch.setattr("tinytorch.generation.chat.stream", interrupted)
    assert chat("To\nor\n").code == 0
    assert seen == ["To\n", "o\nbe\nor\n"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--length", "0"], "--length must be 1 or more"),
        (["--template", "none"], "--template must contain {} exactly once"),
        (["--min-p", "2"], "--min-p must be in [0, 1], got 2"),
        (["--repetition-penalty", "0"], "--repetition-penalty must be finite and above 0"),
    ],
)
def test_values_out_of_range_print_one_line(chat: Chat, options: list[str], words: str) -> None:
    result = chat("To\n", *options)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert words in result.err
