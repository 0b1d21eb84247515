"""Conversations: the prompts that the model gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import tinytorch as tt
from tests.generation.models import LENGTH, TOKENIZER, small_model
from tinytorch.backend import Backend
from tinytorch.generation import Conversation, SamplingConfig
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT


@pytest.fixture
def model() -> Iterator[TinyGPT]:
    with tt.use_backend("numpy"):
        yield small_model()


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the prompts of a fake model, which answers "so it" to each."""
    recorded: list[str] = []

    def fake_stream(model: Any, ids: list[int], max_new_tokens: int, **arguments: Any) -> Iterator[str]:
        recorded.append(TOKENIZER.decode(ids))
        yield "so "
        yield "it"

    monkeypatch.setattr("tinytorch.generation.chat.stream", fake_stream)
    return recorded


def test_an_answer_continues_the_whole_conversation(backend: Backend) -> None:
    model = small_model()
    conversation = Conversation(model, TOKENIZER, template="{}", max_new_tokens=5, stop=None, seed=3, config=SamplingConfig(top_k=4))
    first = "".join(conversation.answer("the"))
    assert first == model.generate("the", 5, top_k=4, seed=3, tokenizer=TOKENIZER)
    prompt = f"the{first}fox"[-LENGTH:]
    assert "".join(conversation.answer("fox")) == model.generate(prompt, 5, top_k=4, seed=4, tokenizer=TOKENIZER)


def test_the_prompt_is_the_end_of_the_conversation_since_the_last_reset(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER, template="{} ")
    for message in ("fox", "dog"):
        assert "".join(conversation.answer(message)) == "so it"
    conversation.reset()
    list(conversation.answer("cat"))
    assert prompts == ["fox ", "o itdog "[-LENGTH:], "cat "]


def test_an_empty_message_continues_the_answer(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER)
    with pytest.raises(InputError, match="the conversation is empty"):
        next(conversation.answer(""))
    list(conversation.answer("fox"))
    list(conversation.answer(""))
    assert prompts == ["fox", "foxso it"]  # a newline is not in this tokenizer's vocabulary


def test_an_answer_that_is_not_iterated_to_its_end_keeps_the_yielded_parts(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER, template="{}")
    answer = conversation.answer("the")
    next(answer)
    answer.close()  # type: ignore[attr-defined]
    list(conversation.answer("x"))
    assert prompts == ["the", "theso x"]


def test_an_unknown_character_raises_and_leaves_the_conversation_unchanged(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER)
    with pytest.raises(InputError, match="not in the tokenizer's vocabulary: 'é'"):
        next(conversation.answer("é"))
    list(conversation.answer("the"))
    assert prompts == ["the"]


@pytest.mark.parametrize("template", ["none", "{} {}"])
def test_a_template_without_exactly_one_placeholder_raises(model: TinyGPT, template: str) -> None:
    with pytest.raises(InputError, match=r"`template` must contain \{\} exactly once"):
        Conversation(model, TOKENIZER, template=template)
