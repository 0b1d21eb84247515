"""Tokenizers from JSON: they encode every text completely, and panics of the library become ordinary errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tinytorch.io.errors import InputError
from tinytorch.text import BPETokenizer

tokenizers = pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")

from tinytorch.text.engines import make_engine, no_panics, split_settings, with_settings  # noqa: E402

TEXT = "the quick brown fox jumps over the lazy dog. " * 20
CONTENT: dict[str, Any] = json.loads(BPETokenizer.train(TEXT, 270)._engine.to_str())
SIZE = len(CONTENT["model"]["vocab"])

TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
PADDING = {"strategy": {"Fixed": 4096}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0, "pad_token": "x"}


def added(content: str, i: Any, **flags: bool) -> dict[str, Any]:
    defaults = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {**defaults, "content": content, "id": i, **flags}


def ids(content: dict[str, Any], text: str = TEXT) -> list[int]:
    found: list[int] = BPETokenizer(make_engine(content)).encode(text)
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"truncation": TRUNCATION},
        {"truncation": {**TRUNCATION, "stride": 9}},  # larger than max_length: the library panics
        {"padding": PADDING},
        {"padding": {**PADDING, "strategy": {"Fixed": 10**12}}},  # the library aborts the process when it runs out of memory
        {"padding": {**PADDING, "pad_to_multiple_of": 0}},
        {"model": {**CONTENT["model"], "dropout": 1.0}},
        {"post_processor": {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}},
    ],
    ids=["truncation", "stride", "padding", "padding of terabytes", "padding to a multiple of 0", "dropout", "added special tokens"],
)
def test_encoding_ignores_truncation_padding_dropout_and_post_processors(change: dict[str, Any]) -> None:
    assert ids({**CONTENT, **change}) == ids(CONTENT)


def test_with_settings_is_the_inverse_of_split_settings() -> None:
    content = {**CONTENT, "truncation": TRUNCATION, "padding": PADDING, "model": {**CONTENT["model"], "dropout": 0.1}}
    plain, settings = split_settings(content)
    assert plain == CONTENT
    assert with_settings(plain, settings) == content


def test_every_token_has_the_id_in_its_file() -> None:
    last = SIZE - 1
    # one unused id: the library would give the next added token the id of the last token
    vocab = {name: i + (i == last) for name, i in CONTENT["model"]["vocab"].items()}
    content = {**CONTENT, "model": {**CONTENT["model"], "vocab": vocab}, "added_tokens": [added("<x>", SIZE + 5), added("<y>", SIZE + 9)]}
    engine = make_engine(content)
    assert [engine.token_to_id(name) for name in ("<x>", "<y>")] == [SIZE + 5, SIZE + 9]
    assert ids(content, "the<x>") == [*ids(CONTENT, "the"), SIZE + 5]
    assert BPETokenizer(engine).decode([SIZE + 9, last, SIZE]) == "<y>" + BPETokenizer(make_engine(CONTENT)).decode([last])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}}, "its normalizer 'Precompiled' changes texts"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Precompiled"}]}}, "'Precompiled' changes texts"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}}, "panics"),
        ({"model": {**CONTENT["model"], "continuing_subword_prefix": "##"}}, "panics"),
        ({"added_tokens": [added("<x>", 3)]}, "have the same id, 3"),
        ({"added_tokens": [added("<x>", 2**32 - 1)]}, "the token '<x>' has the id 4294967295, which is not an integer from 0 to"),
        ({"added_tokens": [added("<x>", "3")]}, "has the id '3'"),
    ],
)
def test_json_that_makes_the_library_panic_or_renumber_tokens_raises(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ids({**CONTENT, **change})


def test_a_text_that_makes_the_library_panic_raises() -> None:
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    byte_level = {**CONTENT["pre_tokenizer"], "use_regex": False}
    content = {**CONTENT, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}}
    tokenizer = BPETokenizer(make_engine(content))
    assert tokenizer.decode(tokenizer.encode("the")) == "the"
    with pytest.raises(InputError, match="panics on this tokenizer and text"):
        tokenizer.encode("x" * 40 + "z")


def test_ctrl_c_is_not_handled_as_a_panic() -> None:
    with pytest.raises(KeyboardInterrupt), no_panics():
        raise KeyboardInterrupt
