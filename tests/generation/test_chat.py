"""Conversations: what the model reads of them."""

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
    """The prompts that a model gets; it answers "so it" to each."""
    seen: list[str] = []

    def answering(model: Any, ids: list[int], max_new_tokens: int, **arguments: Any) -> Iterator[str]:
        seen.append(TOKENIZER.decode(ids))
        yield "so "
        yield "it"

    monkeypatch.setattr("tinytorch.generation.chat.stream", answering)
    return seen


def test_an_answer_is_what_the_model_generates_for_all_that_was_said(backend: Backend) -> None:
    model = small_model()
    conversation = Conversation(model, TOKENIZER, template="{}", max_new_tokens=5, stop=None, seed=3, config=SamplingConfig(top_k=4))
    first = "".join(conversation.answer("the"))
    assert first == model.generate("the", 5, top_k=4, seed=3, tokenizer=TOKENIZER)
    said = f"the{first}fox"[-LENGTH:]
    assert "".join(conversation.answer("fox")) == model.generate(said, 5, top_k=4, seed=4, tokenizer=TOKENIZER)


def test_it_is_remembered_up_to_the_models_length_until_it_is_reset(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER, template="{} ")
    for message in ("fox", "dog"):
        assert "".join(conversation.answer(message)) == "so it"
    conversation.reset()
    list(conversation.answer("cat"))
    assert prompts == ["fox ", "o itdog "[-LENGTH:], "cat "]


def test_an_empty_message_continues_the_answer(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER)
    with pytest.raises(InputError, match="nothing was said yet"):
        next(conversation.answer(""))
    list(conversation.answer("fox"))
    list(conversation.answer(""))
    assert prompts == ["fox", "foxso it"]  # this tokenizer knows no new line


def test_what_was_yielded_before_the_caller_stopped_counts_as_said(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER, template="{}")
    answer = conversation.answer("the")
    next(answer)
    answer.close()  # type: ignore[attr-defined]
    list(conversation.answer("x"))
    assert prompts == ["the", "theso x"]


def test_an_unknown_character_leaves_the_conversation_as_it_was(model: TinyGPT, prompts: list[str]) -> None:
    conversation = Conversation(model, TOKENIZER)
    with pytest.raises(InputError, match="never saw 'é'"):
        next(conversation.answer("é"))
    list(conversation.answer("the"))
    assert prompts == ["the"]


@pytest.mark.parametrize("template", ["none", "{} {}"])
def test_a_template_holds_the_message_once(model: TinyGPT, template: str) -> None:
    with pytest.raises(InputError, match=r"`template` must hold \{\} exactly once"):
        Conversation(model, TOKENIZER, template=template)
