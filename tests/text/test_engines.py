"""Tokenizers from JSON: they read every text whole, and what would stop the process is refused."""

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
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {**plain, "content": content, "id": i, **flags}


def ids(content: dict[str, Any], text: str = TEXT) -> list[int]:
    found: list[int] = BPETokenizer(make_engine(content)).encode(text)
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"truncation": TRUNCATION},
        {"truncation": {**TRUNCATION, "stride": 9}},  # more than is kept: the library panics as it cuts
        {"padding": PADDING},
        {"padding": {**PADDING, "strategy": {"Fixed": 10**12}}},  # the library ends the process for want of memory
        {"padding": {**PADDING, "pad_to_multiple_of": 0}},
        {"model": {**CONTENT["model"], "dropout": 1.0}},
        {"post_processor": {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}},
    ],
    ids=["truncation", "stride", "padding", "padding of terabytes", "padding to a multiple of 0", "dropout", "tokens put around"],
)
def test_a_text_is_read_whole_and_without_what_stands_for_no_text(change: dict[str, Any]) -> None:
    assert ids({**CONTENT, **change}) == ids(CONTENT)


def test_the_settings_that_were_taken_off_can_be_put_back() -> None:
    content = {**CONTENT, "truncation": TRUNCATION, "padding": PADDING, "model": {**CONTENT["model"], "dropout": 0.1}}
    plain, settings = split_settings(content)
    assert plain == CONTENT
    assert with_settings(plain, settings) == content


def test_every_token_has_the_id_that_its_file_gives_it() -> None:
    last = SIZE - 1
    hole = {name: i + (i == last) for name, i in CONTENT["model"]["vocab"].items()}  # the library gives the next token the id of the last
    content = {**CONTENT, "model": {**CONTENT["model"], "vocab": hole}, "added_tokens": [added("<x>", SIZE + 5), added("<y>", SIZE + 9)]}
    engine = make_engine(content)
    assert [engine.token_to_id(name) for name in ("<x>", "<y>")] == [SIZE + 5, SIZE + 9]
    assert ids(content, "the<x>") == [*ids(CONTENT, "the"), SIZE + 5]
    assert BPETokenizer(engine).decode([SIZE + 9, last, SIZE]) == "<y>" + BPETokenizer(make_engine(CONTENT)).decode([last])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}}, "its normalizer 'Precompiled' changes texts"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Precompiled"}]}}, "'Precompiled' changes texts"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}}, "panics"),
        ({"model": {**CONTENT["model"], "continuing_subword_prefix": "##"}}, "panics"),
        ({"added_tokens": [added("<x>", 3)]}, "have one id, 3"),
        ({"added_tokens": [added("<x>", 2**32 - 1)]}, "the token '<x>' has the id 4294967295, which is none from 0 to"),
        ({"added_tokens": [added("<x>", "3")]}, "has the id '3'"),
    ],
)
def test_what_would_end_the_process_or_give_other_tokens_is_an_ordinary_error(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ids({**CONTENT, **change})


def test_a_text_that_makes_the_library_panic_is_an_ordinary_error() -> None:
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    byte_level = {**CONTENT["pre_tokenizer"], "use_regex": False}
    content = {**CONTENT, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}}
    tokenizer = BPETokenizer(make_engine(content))
    assert tokenizer.decode(tokenizer.encode("the")) == "the"
    with pytest.raises(InputError, match="panics on this tokenizer and text"):
        tokenizer.encode("x" * 40 + "z")


def test_ctrl_c_is_no_panic() -> None:
    with pytest.raises(KeyboardInterrupt), no_panics():
        raise KeyboardInterrupt
