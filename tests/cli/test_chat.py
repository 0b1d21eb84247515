"""`tinytorch chat`: a conversation, its commands, and what does not end it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.tiny import Command, Result
from tinytorch.text import Tokenizer

Say = Callable[..., Result]


@pytest.fixture
def say(run: str, tinytorch: Command, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Lines to say to a tiny model, and options."""

    def talk(lines: str, *options: str) -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return tinytorch("chat", run, "--length", "20", "--seed", "1", *options)

    return talk


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model is asked to go on from, and answers with its own name."""
    seen: list[str] = []

    def answering(model: Any, ids: list[int], length: int, *, tokenizer: Tokenizer, **arguments: Any) -> Iterator[str]:
        seen.append(tokenizer.decode(ids))
        yield "be "
        yield "so"

    monkeypatch.setattr("tinytorch.generation.chat.stream", answering)
    return seen


def test_it_answers_each_line(say: Say) -> None:
    result = say("To be\nor not\n")
    assert (result.code, result.err) == (0, "")
    first, _, answers = result.out.partition("\n\n")
    assert "parameters, numpy:cpu. Type a line" in first
    assert len(answers) > 20
    assert say("To be\nor not\n").out == result.out
    assert say("To be\nor not\n", "--temperature", "2").out != result.out


def test_the_conversation_goes_on_until_it_is_forgotten(say: Say, prompts: list[str]) -> None:
    assert say("To\n\n/new\nor\n").code == 0
    assert prompts == ["To\n", "o\nbe so\n", "or\n"]


def test_a_template_frames_what_is_said(say: Say, prompts: list[str]) -> None:
    assert say("or\n", "--template", r"T: {}\nb").code == 0
    assert prompts == ["T: or\nb"]


def test_a_character_that_the_model_never_saw_spoils_a_line_and_not_the_conversation(say: Say, prompts: list[str]) -> None:
    result = say("tö\nto\n")
    assert result.code == 0
    assert result.err == "error: the message has characters that are not in the tokenizer's vocabulary: 'ö'; leave them out\n"
    assert prompts == ["to\n"]


def test_an_empty_line_needs_something_to_go_on_from(say: Say) -> None:
    result = say("\n")
    assert (result.code, result.err) == (0, "error: the conversation is empty, so there is no answer to continue; enter a message\n")


def test_ctrl_c_ends_an_answer_and_not_the_conversation(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def interrupted(model: Any, ids: list[int], length: int, *, tokenizer: Tokenizer, **arguments: Any) -> Iterator[str]:
        seen.append(tokenizer.decode(ids))
        yield "be"
        raise KeyboardInterrupt

    monkeypatch.setattr("tinytorch.generation.chat.stream", interrupted)
    assert say("To\nor\n").code == 0
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
def test_settings_out_of_range_are_one_sentence(say: Say, options: list[str], words: str) -> None:
    result = say("To\n", *options)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert words in result.err
