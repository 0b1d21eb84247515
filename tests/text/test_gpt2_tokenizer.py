"""The tokenizer files of GPT-2 in all formats. tests/models compares the tokenizers with those of transformers."""

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


def from_vocab_and_merges(directory: Path, vocab: dict[str, int] = VOCAB, **files: Any) -> BPETokenizer:
    """The tokenizer in a directory with ``vocab.json``, ``merges.txt``, and further files by name."""
    (directory / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in CONTENT["model"]["merges"])
    (directory / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return BPETokenizer.from_gpt2(directory)


def from_tokenizer_json(directory: Path, **content: Any) -> BPETokenizer:
    """The tokenizer in a directory with ``tokenizer.json``."""
    (directory / "tokenizer.json").write_text(json.dumps({**CONTENT, **content}), encoding="utf-8")
    return BPETokenizer.from_gpt2(directory)


def test_added_tokens_are_read(tmp_path: Path) -> None:
    files = {"added_tokens": {"<pad>": SIZE + 1, "<x>": SIZE}, "special_tokens_map": {"pad_token": {"content": "<pad>"}}}
    tokenizer = from_vocab_and_merges(tmp_path, **files)
    assert tokenizer.get_vocab_size() == SIZE + 2
    assert list(tokenizer.special_ids) == [SIZE + 1]
    the = tokenizer.encode("the")
    assert tokenizer.encode("the<x>the") == [*the, SIZE, *the]
    assert tokenizer.decode([SIZE, SIZE + 1]) == "<x>"
    assert SIZE + 1 not in tokenizer.encode("<pad>")


def test_added_tokens_of_tokenizer_config_have_priority(tmp_path: Path) -> None:
    listed = {str(SIZE): {"content": "<x>", **FLAGS, "special": False}, str(SIZE + 1): {"content": "<eos>", **FLAGS, "special": True}}
    tokenizer = from_vocab_and_merges(tmp_path, tokenizer_config={"added_tokens_decoder": listed}, added_tokens={"<y>": SIZE + 2})
    assert (tokenizer.get_vocab_size(), list(tokenizer.special_ids)) == (SIZE + 2, [SIZE + 1])
    assert tokenizer.encode("<x>") == [SIZE]


def test_declared_special_tokens_are_special_in_the_vocabulary_too(tmp_path: Path) -> None:
    assert list(from_vocab_and_merges(tmp_path, {**VOCAB, "<|endoftext|>": SIZE, "<pad>": SIZE + 1}).special_ids) == [SIZE]
    roles = {"pad_token": "<pad>", "additional_special_tokens": [{"content": "the"}], "eos_token": "<has no id>", "sep_token": None}
    tokenizer = from_vocab_and_merges(tmp_path, {**VOCAB, "<|endoftext|>": SIZE, "<pad>": SIZE + 1}, special_tokens_map=roles)
    assert list(tokenizer.special_ids) == [VOCAB["the"], SIZE, SIZE + 1]
    assert tokenizer.get_vocab_size() == SIZE + 2


def test_a_vocabulary_may_have_unused_ids(tmp_path: Path) -> None:
    tokenizer = from_vocab_and_merges(tmp_path, {**VOCAB, "<|endoftext|>": SIZE + 3}, added_tokens={"<x>": SIZE + 1})
    assert tokenizer.get_vocab_size() == SIZE + 4
    assert list(tokenizer.special_ids) == [SIZE, SIZE + 2, SIZE + 3]  # unused ids are never generated
    assert tokenizer.encode("<x>") == [SIZE + 1]
    assert tokenizer.decode([SIZE + 1, SIZE + 3, SIZE], skip_special_tokens=False) == "<x><|endoftext|>"
    with pytest.raises(ValueError, match=f"is outside the vocabulary of {SIZE + 4} tokens"):
        tokenizer.decode([SIZE + 4])


def test_truncation_and_padding_are_ignored_and_saved_again(tmp_path: Path) -> None:
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 5, "pad_type_id": 0, "pad_token": "&"}
    model = {**CONTENT["model"], "dropout": 0.5}
    tokenizer = from_tokenizer_json(tmp_path, truncation=truncation, padding=padding, model=model)
    assert tokenizer.encode(TEXT) == from_tokenizer_json(tmp_path).encode(TEXT)
    tokenizer.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "tokenizer.json").read_text(encoding="utf-8"))
    assert (saved["truncation"], saved["padding"], saved["model"]["dropout"]) == (truncation, padding, 0.5)
    assert tokenizer.to_json() == from_tokenizer_json(tmp_path).to_json()  # the tokens are the same


def test_characters_without_bytes_in_the_vocabulary_are_unknown(tmp_path: Path) -> None:
    last_byte = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("ł")[0][0][-1]
    vocab = {name: i for name, i in VOCAB.items() if name not in ("Z", last_byte)}
    tokenizer = from_tokenizer_json(tmp_path, model={**CONTENT["model"], "vocab": vocab})
    assert tokenizer.unknown_characters("łaZbZéł\ud800") == ["ł", "Z", "\ud800"]
    assert tokenizer.unknown_characters("the dog \ufffd") == []
    with pytest.raises(InputError, match="not in the tokenizer's vocabulary: 'Z'; leave them out"):  # the library would drop it silently
        tokenizer.encode("aZb")


def test_a_vocabulary_may_be_small(tmp_path: Path) -> None:
    letters = {"a": 0, "b": 1, "ab": 2, "<x>": 3}
    tokenizer = from_tokenizer_json(tmp_path, model={"type": "BPE", "vocab": letters, "merges": [["a", "b"]]})
    assert tokenizer.encode("abba") == [2, 1, 0]
    assert tokenizer.unknown_characters("a cab") == [" ", "c"]
    tokenizer = from_tokenizer_json(tmp_path, model={"type": "BPE", "vocab": letters, "merges": [["a", "b"]], "unk_token": "<x>"})
    assert tokenizer.unknown_characters("a cab") == [" ", "c"]


def test_a_character_that_is_the_padding_token_is_not_unknown(tmp_path: Path) -> None:
    tokenizer = from_vocab_and_merges(tmp_path, special_tokens_map={"pad_token": "!"})
    assert list(tokenizer.special_ids) == [VOCAB["!"]]
    assert tokenizer.unknown_characters("the!") == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config": {"add_prefix_space": True}}, "adds a space to every text"),
        ({"added_tokens": {"<x>": 3}}, "have the same id, 3"),
        ({"added_tokens": {"the": 3}}, "assign two ids to the token 'the'"),
        ({"added_tokens": {"<x>": None}}, "has the id None"),
        ({"added_tokens": ["<x>"]}, "added_tokens.json is not a JSON object"),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "<x>"}}}}, "cannot be used"),
        ({"tokenizer_config": {"added_tokens_decoder": {str(SIZE): "<x>"}}}, "cannot be used"),
    ],
)
def test_contradictory_or_invalid_files_raise(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_vocab_and_merges(tmp_path, **files)
    assert "\n" not in str(caught.value)


def test_a_panic_of_the_library_raises_an_error_of_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be used \(the tokenizers package panics .*\): restore its files from a copy"):
        from_tokenizer_json(tmp_path, model={**CONTENT["model"], "continuing_subword_prefix": "##"})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"])
def test_a_named_pipe_in_place_of_a_file_raises(tmp_path: Path, name: str) -> None:
    from_vocab_and_merges(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: it is not a regular file"):
        BPETokenizer.from_gpt2(tmp_path)
