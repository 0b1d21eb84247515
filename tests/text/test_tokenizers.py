"""CharTokenizer: every character has an id, and decoding reproduces the text it was fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from hypothesis import given, strategies as st

from tinytorch.io.errors import InputError
from tinytorch.text import CharTokenizer, Tokenizer, load_tokenizer

# All texts of Python, including lone surrogates.
texts = st.text(st.characters(exclude_categories=()), min_size=1)


@given(texts)
def test_decoding_reproduces_the_text_that_the_tokenizer_was_fitted_on(text: str) -> None:
    tokenizer = CharTokenizer().fit(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode_array(text)) == text
    assert tokenizer.unknown_characters(text) == []


@given(fitted=texts, text=texts)
def test_characters_that_are_not_in_the_vocabulary_are_encoded_as_unknown_and_listed(fitted: str, text: str) -> None:
    tokenizer = CharTokenizer().fit(fitted)
    seen = set(fitted)
    assert [i == tokenizer.unknown_id for i in tokenizer.encode(text)] == [character not in seen for character in text]
    assert tokenizer.decode(tokenizer.encode(text)) == "".join(character for character in text if character in seen)
    assert set(tokenizer.unknown_characters(text)) == set(text) - seen


def test_ids_are_special_tokens_then_characters_by_code_point() -> None:
    tokenizer = CharTokenizer().fit("banana")
    assert tokenizer.special_tokens == ["<PAD>", "<UNK>"]
    assert tokenizer.encode("abn") == [2, 3, 4]
    assert tokenizer.get_vocab_size() == 5


def test_encode_returns_python_integers_and_encode_array_int64() -> None:
    tokenizer = CharTokenizer().fit("ab")
    assert all(type(i) is int for i in tokenizer.encode("ab"))
    array = tokenizer.encode_array("abba")
    assert array.dtype == numpy.int64
    assert array.shape == (4,)


def test_unknown_characters_are_distinct_and_in_order_of_appearance() -> None:
    tokenizer = CharTokenizer().fit("abc")
    assert tokenizer.unknown_characters("z€aza€") == ["z", "€"]
    assert tokenizer.unknown_characters("") == []


def test_fitting_again_replaces_the_vocabulary() -> None:
    tokenizer = CharTokenizer().fit("abc").fit("xy")
    assert tokenizer.unknown_characters("axy") == ["a"]


def test_vocab_size_keeps_the_most_frequent_characters_and_breaks_ties_by_code_point() -> None:
    tokenizer = CharTokenizer(vocab_size=4).fit("cccbbaa")
    assert tokenizer.get_vocab_size() == 4
    assert tokenizer.unknown_characters("abc") == ["b"]


def test_decode_skips_special_tokens_by_default() -> None:
    tokenizer = CharTokenizer().fit("ab")
    ids = [tokenizer.pad_id, *tokenizer.encode("ab"), tokenizer.unknown_id]
    assert tokenizer.decode(ids) == "ab"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<PAD>ab<UNK>"


def test_the_name_of_a_special_token_is_encoded_as_characters() -> None:
    tokenizer = CharTokenizer().fit("<PAD>")
    assert len(tokenizer.encode("<PAD>")) == 5
    assert tokenizer.decode(tokenizer.encode("<PAD>")) == "<PAD>"


def test_custom_special_tokens_are_added_to_padding_and_unknown() -> None:
    assert CharTokenizer(special_tokens=["<BOS>"]).special_tokens == ["<PAD>", "<UNK>", "<BOS>"]
    assert CharTokenizer(special_tokens=["<UNK>", "<PAD>"]).special_tokens == ["<UNK>", "<PAD>"]
    tokenizer = CharTokenizer(special_tokens=["<UNK>", "<BOS>", "<PAD>"]).fit("a")
    assert (tokenizer.unknown_id, tokenizer.pad_id, tokenizer.encode("a")) == (0, 2, [3])


def test_encode_batch_pads_at_the_end_to_the_longest_text() -> None:
    tokenizer = CharTokenizer().fit("abc")
    batch = tokenizer.encode_batch(["abc", "a"])
    assert batch.dtype == numpy.int64
    assert batch.tolist() == [[2, 3, 4], [2, tokenizer.pad_id, tokenizer.pad_id]]


def test_encode_batch_truncates_or_pads_to_max_length() -> None:
    tokenizer = CharTokenizer().fit("abc")
    assert tokenizer.encode_batch(["abc", "a"], max_length=2).tolist() == [[2, 3], [2, 0]]
    assert tokenizer.encode_batch(["a"], max_length=3).tolist() == [[2, 0, 0]]


def test_encode_batch_without_padding_needs_texts_of_one_length() -> None:
    tokenizer = CharTokenizer().fit("abc")
    assert tokenizer.encode_batch(["abc", "ab"], max_length=2, padding=False).tolist() == [[2, 3], [2, 3]]
    with pytest.raises(ValueError, match="from 1 to 3 tokens: use padding=True"):
        tokenizer.encode_batch(["abc", "a"], padding=False)


def test_empty_texts_raise_and_no_ids_decode_to_an_empty_text() -> None:
    tokenizer = CharTokenizer().fit("abc")
    with pytest.raises(ValueError, match="no text to fit"):
        CharTokenizer().fit("")
    with pytest.raises(ValueError, match="no text to encode"):
        tokenizer.encode("")
    with pytest.raises(ValueError, match="no text to encode"):
        tokenizer.encode_batch(["a", ""])
    with pytest.raises(ValueError, match="no texts"):
        tokenizer.encode_batch([])
    assert tokenizer.decode([]) == ""


def test_arguments_of_wrong_types_or_values_raise() -> None:
    with pytest.raises(TypeError, match="fit expects a str, got list"):
        CharTokenizer().fit(["a"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expects a list of texts, got a str"):
        CharTokenizer().fit("a").encode_batch("a")
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        CharTokenizer().fit("a").encode_batch(["a"], max_length=0)


def test_methods_of_an_unfitted_tokenizer_raise(tmp_path: Path) -> None:
    tokenizer = CharTokenizer()
    for use in (
        lambda: tokenizer.encode("a"),
        lambda: tokenizer.decode([2]),
        lambda: tokenizer.encode_batch(["a"]),
        lambda: tokenizer.get_vocab_size(),
        lambda: tokenizer.unknown_characters("a"),
        lambda: tokenizer.save(tmp_path / "tokenizer.json"),
    ):
        with pytest.raises(ValueError, match=r"call fit\(text\) first"):
            use()
    assert list(tmp_path.iterdir()) == []
    assert "unfitted" in repr(tokenizer)


@pytest.mark.parametrize("wrong", [-1, 5, 10**9])
def test_decoding_an_id_outside_the_vocabulary_raises(wrong: int) -> None:
    tokenizer = CharTokenizer().fit("abc")
    with pytest.raises(ValueError, match=f"token id {wrong} is outside the vocabulary of 5 tokens"):
        tokenizer.decode([2, wrong])


@pytest.mark.parametrize("ids", [[[2], [3]], [2.0], numpy.asarray(2)])
def test_decoding_anything_but_a_1d_sequence_of_integers_raises(ids: object) -> None:
    with pytest.raises(ValueError, match="expects a 1-d sequence of integers"):
        CharTokenizer().fit("abc").decode(ids)  # type: ignore[arg-type]


def test_invalid_settings_raise() -> None:
    with pytest.raises(ValueError, match="use at least 3"):
        CharTokenizer(vocab_size=2)
    with pytest.raises(ValueError, match="list each one once"):
        CharTokenizer(special_tokens=["<BOS>", "<BOS>"])
    with pytest.raises(ValueError, match="distinct, non-empty strings"):
        CharTokenizer(special_tokens=[""])


@given(text=texts, special=st.sampled_from([None, ["<BOS>"], ["<UNK>", "<PAD>"]]), limit=st.sampled_from([None, 5]))
def test_loading_a_saved_tokenizer_restores_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, special: list[str] | None, limit: int | None
) -> None:
    path = tmp_path_factory.mktemp("saved") / "tokenizer.json"
    tokenizer = CharTokenizer(limit, special).fit(text)
    tokenizer.save(path)
    for loaded in (CharTokenizer.load(path), load_tokenizer(path)):
        assert isinstance(loaded, CharTokenizer)
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.special_tokens == tokenizer.special_tokens
        assert loaded.vocab_size == limit


def test_a_char_tokenizer_implements_the_protocol() -> None:
    assert isinstance(CharTokenizer(), Tokenizer)


GOOD = {
    "format": "tinytorch-tokenizer",
    "version": 1,
    "kind": "char",
    "vocab_size": None,
    "special_tokens": ["<PAD>", "<UNK>"],
    "characters": ["a", "b"],
}


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in GOOD.items() if name != key}


BROKEN: dict[str, str | bytes] = {
    "empty": "",
    "truncated": json.dumps(GOOD)[:60],
    "binary": b"\x89PNG\xff",
    "another format": '{"model": {"vocab": {}}}',
    "a list": "[1, 2]",
    "deeply nested": "[" * 100_000,
    "a later version": json.dumps(GOOD | {"version": 2}),
    "no characters": json.dumps(without("characters")),
    "characters empty": json.dumps(GOOD | {"characters": []}),
    "characters repeated": json.dumps(GOOD | {"characters": ["a", "a"]}),
    "a character of two characters": json.dumps(GOOD | {"characters": ["a", "bc"]}),
    "a number for a character": json.dumps(GOOD | {"characters": [97]}),
    "special tokens of a wrong type": json.dumps(GOOD | {"special_tokens": 3}),
    "vocab_size of a wrong type": json.dumps(GOOD | {"vocab_size": "many"}),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_an_invalid_file_raises_an_error_with_its_path_and_a_suggestion(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tokenizer.json"
    content = BROKEN[damage]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for load in (CharTokenizer.load, load_tokenizer):
        with pytest.raises(InputError, match="restore it from a copy, or train again") as caught:
            load(path)
        assert str(path) in str(caught.value)


def test_the_valid_file_that_the_invalid_ones_derive_from_loads(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD), encoding="utf-8")
    assert CharTokenizer.load(tmp_path / "tokenizer.json").decode([2, 3]) == "ab"


def test_a_missing_file_and_a_directory_raise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no tokenizer file"):
        load_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_an_unsupported_kind_of_tokenizer_raises_its_own_error(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(GOOD | {"kind": "morse"}), encoding="utf-8")
    with pytest.raises(InputError, match="kind 'morse', but this version supports only bpe, char: upgrade tinytorch"):
        load_tokenizer(path)
    with pytest.raises(InputError, match="of kind 'morse', not 'char'"):
        CharTokenizer.load(path)
