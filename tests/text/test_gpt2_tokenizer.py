"""The files of a GPT-2's tokenizer in all their forms. What transformers makes of them is held to it in tests/models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tinytorch.io.errors import InputError
from tinytorch.text import BPETokenizer

tokenizers = pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")

TEXT = "the quick brown fox jumps over the lazy dog. " * 20
CONTENT: dict[str, Any] = json.loads(BPETokenizer.train(TEXT, 270)._engine.to_str())
VOCAB: dict[str, int] = CONTENT["model"]["vocab"]
SIZE = len(VOCAB)
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def pair(directory: Path, vocab: dict[str, int] = VOCAB, **files: Any) -> BPETokenizer:
    """The tokenizer in a directory with ``vocab.json``, ``merges.txt``, and further files by name."""
    (directory / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in CONTENT["model"]["merges"])
    (directory / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return BPETokenizer.from_gpt2(directory)


def whole(directory: Path, **content: Any) -> BPETokenizer:
    """The tokenizer in a directory with ``tokenizer.json``."""
    (directory / "tokenizer.json").write_text(json.dumps({**CONTENT, **content}), encoding="utf-8")
    return BPETokenizer.from_gpt2(directory)


def test_added_tokens_are_read(tmp_path: Path) -> None:
    files = {"added_tokens": {"<pad>": SIZE + 1, "<x>": SIZE}, "special_tokens_map": {"pad_token": {"content": "<pad>"}}}
    tokenizer = pair(tmp_path, **files)
    assert tokenizer.get_vocab_size() == SIZE + 2
    assert list(tokenizer.special_ids) == [SIZE + 1]
    the = tokenizer.encode("the")
    assert tokenizer.encode("the<x>the") == [*the, SIZE, *the]
    assert tokenizer.decode([SIZE, SIZE + 1]) == "<x>"
    assert SIZE + 1 not in tokenizer.encode("<pad>")


def test_what_tokenizer_config_says_of_added_tokens_comes_first(tmp_path: Path) -> None:
    listed = {str(SIZE): {"content": "<x>", **FLAGS, "special": False}, str(SIZE + 1): {"content": "<eos>", **FLAGS, "special": True}}
    tokenizer = pair(tmp_path, tokenizer_config={"added_tokens_decoder": listed}, added_tokens={"<y>": SIZE + 2})
    assert (tokenizer.get_vocab_size(), list(tokenizer.special_ids)) == (SIZE + 2, [SIZE + 1])
    assert tokenizer.encode("<x>") == [SIZE]


def test_a_token_that_has_a_role_is_special_wherever_its_id_is_from(tmp_path: Path) -> None:
    assert list(pair(tmp_path, {**VOCAB, "<|endoftext|>": SIZE, "<pad>": SIZE + 1}).special_ids) == [SIZE]
    roles = {"pad_token": "<pad>", "additional_special_tokens": [{"content": "the"}], "eos_token": "<has no id>", "sep_token": None}
    tokenizer = pair(tmp_path, {**VOCAB, "<|endoftext|>": SIZE, "<pad>": SIZE + 1}, special_tokens_map=roles)
    assert list(tokenizer.special_ids) == [VOCAB["the"], SIZE, SIZE + 1]
    assert tokenizer.get_vocab_size() == SIZE + 2


def test_a_vocabulary_may_have_holes(tmp_path: Path) -> None:
    tokenizer = pair(tmp_path, {**VOCAB, "<|endoftext|>": SIZE + 3}, added_tokens={"<x>": SIZE + 1})
    assert tokenizer.get_vocab_size() == SIZE + 4
    assert list(tokenizer.special_ids) == [SIZE, SIZE + 2, SIZE + 3]  # no model writes what stands for nothing
    assert tokenizer.encode("<x>") == [SIZE + 1]
    assert tokenizer.decode([SIZE + 1, SIZE + 3, SIZE], skip_special_tokens=False) == "<x><|endoftext|>"
    with pytest.raises(ValueError, match=f"lies outside the vocabulary of {SIZE + 4}"):
        tokenizer.decode([SIZE + 4])


def test_truncation_and_padding_stay_in_the_file_and_out_of_the_way(tmp_path: Path) -> None:
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 5, "pad_type_id": 0, "pad_token": "&"}
    model = {**CONTENT["model"], "dropout": 0.5}
    tokenizer = whole(tmp_path, truncation=truncation, padding=padding, model=model)
    assert tokenizer.encode(TEXT) == whole(tmp_path).encode(TEXT)
    tokenizer.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "tokenizer.json").read_text(encoding="utf-8"))
    assert (saved["truncation"], saved["padding"], saved["model"]["dropout"]) == (truncation, padding, 0.5)
    assert tokenizer.to_json() == whole(tmp_path).to_json()  # the tokens are the same


def test_characters_without_bytes_in_the_vocabulary_are_unknown(tmp_path: Path) -> None:
    last_byte = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("ł")[0][0][-1]
    vocab = {name: i for name, i in VOCAB.items() if name not in ("Z", last_byte)}
    tokenizer = whole(tmp_path, model={**CONTENT["model"], "vocab": vocab})
    assert tokenizer.unknown_characters("łaZbZéł\ud800") == ["ł", "Z", "\ud800"]
    assert tokenizer.unknown_characters("the dog \ufffd") == []
    with pytest.raises(InputError, match="has no bytes for 'Z': leave them out"):  # the library would do so without a word
        tokenizer.encode("aZb")


def test_a_vocabulary_may_be_small(tmp_path: Path) -> None:
    letters = {"a": 0, "b": 1, "ab": 2, "<x>": 3}
    tokenizer = whole(tmp_path, model={"type": "BPE", "vocab": letters, "merges": [["a", "b"]]})
    assert tokenizer.encode("abba") == [2, 1, 0]
    assert tokenizer.unknown_characters("a cab") == [" ", "c"]
    tokenizer = whole(tmp_path, model={"type": "BPE", "vocab": letters, "merges": [["a", "b"]], "unk_token": "<x>"})
    assert tokenizer.unknown_characters("a cab") == [" ", "c"]


def test_a_character_that_pads_is_no_unknown_one(tmp_path: Path) -> None:
    tokenizer = pair(tmp_path, special_tokens_map={"pad_token": "!"})
    assert list(tokenizer.special_ids) == [VOCAB["!"]]
    assert tokenizer.unknown_characters("the!") == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tokenizer_config": {"add_prefix_space": True}}, "puts a space before every text"),
        ({"added_tokens": {"<x>": 3}}, "have one id, 3"),
        ({"added_tokens": {"the": 3}}, "give the token 'the' the ids"),
        ({"added_tokens": {"<x>": None}}, "has the id None"),
        ({"added_tokens": ["<x>"]}, "added_tokens.json is JSON of something else"),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "<x>"}}}}, "cannot be used"),
        ({"tokenizer_config": {"added_tokens_decoder": {str(SIZE): "<x>"}}}, "cannot be used"),
    ],
)
def test_files_that_contradict_each_other_or_change_texts_are_refused(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        pair(tmp_path, **files)
    assert "\n" not in str(caught.value)


def test_a_panic_of_the_library_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be used \(the tokenizers package panics .*\): restore its files from a copy"):
        whole(tmp_path, model={**CONTENT["model"], "continuing_subword_prefix": "##"})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    pair(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: it is not a regular file"):
        BPETokenizer.from_gpt2(tmp_path)
