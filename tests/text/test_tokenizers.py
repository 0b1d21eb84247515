"""CharTokenizer: every character has an id, and every text that was seen comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from hypothesis import given, strategies as st

from tinytorch.io.errors import InputError
from tinytorch.text import CharTokenizer, Tokenizer, load_tokenizer

# Any text Python can hold, lone surrogates too.
texts = st.text(st.characters(exclude_categories=()), min_size=1)


@given(texts)
def test_any_text_comes_back_from_the_tokenizer_that_was_fitted_on_it(text: str) -> None:
    tokenizer = CharTokenizer().fit(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode_array(text)) == text
    assert tokenizer.unknown_characters(text) == []


@given(fitted=texts, text=texts)
def test_characters_that_were_not_seen_map_to_the_unknown_token_and_are_listed(fitted: str, text: str) -> None:
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


def test_encode_gives_plain_integers_and_encode_array_int64() -> None:
    tokenizer = CharTokenizer().fit("ab")
    assert all(type(i) is int for i in tokenizer.encode("ab"))
    array = tokenizer.encode_array("abba")
    assert array.dtype == numpy.int64
    assert array.shape == (4,)


def test_unknown_characters_are_distinct_and_in_order_of_appearance() -> None:
    tokenizer = CharTokenizer().fit("abc")
    assert tokenizer.unknown_characters("z€aza€") == ["z", "€"]
    assert tokenizer.unknown_characters("") == []


def test_fitting_again_forgets_the_first_text() -> None:
    tokenizer = CharTokenizer().fit("abc").fit("xy")
    assert tokenizer.unknown_characters("axy") == ["a"]


def test_vocab_size_keeps_the_most_frequent_characters_and_breaks_ties_by_code_point() -> None:
    tokenizer = CharTokenizer(vocab_size=4).fit("cccbbaa")
    assert tokenizer.get_vocab_size() == 4
    assert tokenizer.unknown_characters("abc") == ["b"]


def test_special_tokens_are_not_text_unless_asked_for() -> None:
    tokenizer = CharTokenizer().fit("ab")
    ids = [tokenizer.pad_id, *tokenizer.encode("ab"), tokenizer.unknown_id]
    assert tokenizer.decode(ids) == "ab"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<PAD>ab<UNK>"


def test_the_name_of_a_special_token_in_a_text_is_just_characters() -> None:
    tokenizer = CharTokenizer().fit("<PAD>")
    assert len(tokenizer.encode("<PAD>")) == 5
    assert tokenizer.decode(tokenizer.encode("<PAD>")) == "<PAD>"


def test_special_tokens_of_your_own_join_padding_and_unknown() -> None:
    assert CharTokenizer(special_tokens=["<BOS>"]).special_tokens == ["<PAD>", "<UNK>", "<BOS>"]
    assert CharTokenizer(special_tokens=["<UNK>", "<PAD>"]).special_tokens == ["<UNK>", "<PAD>"]
    tokenizer = CharTokenizer(special_tokens=["<UNK>", "<BOS>", "<PAD>"]).fit("a")
    assert (tokenizer.unknown_id, tokenizer.pad_id, tokenizer.encode("a")) == (0, 2, [3])


def test_a_batch_is_padded_at_the_end_to_the_longest_text() -> None:
    tokenizer = CharTokenizer().fit("abc")
    batch = tokenizer.encode_batch(["abc", "a"])
    assert batch.dtype == numpy.int64
    assert batch.tolist() == [[2, 3, 4], [2, tokenizer.pad_id, tokenizer.pad_id]]


def test_a_batch_with_a_length_is_cut_or_padded_to_it() -> None:
    tokenizer = CharTokenizer().fit("abc")
    assert tokenizer.encode_batch(["abc", "a"], max_length=2).tolist() == [[2, 3], [2, 0]]
    assert tokenizer.encode_batch(["a"], max_length=3).tolist() == [[2, 0, 0]]


def test_a_batch_without_padding_needs_equal_rows() -> None:
    tokenizer = CharTokenizer().fit("abc")
    assert tokenizer.encode_batch(["abc", "ab"], max_length=2, padding=False).tolist() == [[2, 3], [2, 3]]
    with pytest.raises(ValueError, match="rows of 1 to 3 tokens: use padding=True"):
        tokenizer.encode_batch(["abc", "a"], padding=False)


def test_nothing_to_encode_is_an_error_and_nothing_to_decode_is_no_text() -> None:
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


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="fit takes a str and was given list"):
        CharTokenizer().fit(["a"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes a list of texts"):
        CharTokenizer().fit("a").encode_batch("a")
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        CharTokenizer().fit("a").encode_batch(["a"], max_length=0)


def test_an_unfitted_tokenizer_says_to_fit_it(tmp_path: Path) -> None:
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
def test_an_id_outside_the_vocabulary_is_refused_not_wrapped(wrong: int) -> None:
    tokenizer = CharTokenizer().fit("abc")
    with pytest.raises(ValueError, match=f"token id {wrong} lies outside the vocabulary of 5"):
        tokenizer.decode([2, wrong])


@pytest.mark.parametrize("ids", [[[2], [3]], [2.0], numpy.asarray(2)])
def test_decode_takes_one_row_of_whole_numbers(ids: object) -> None:
    with pytest.raises(ValueError, match="one row of whole numbers"):
        CharTokenizer().fit("abc").decode(ids)  # type: ignore[arg-type]


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="give at least 3"):
        CharTokenizer(vocab_size=2)
    with pytest.raises(ValueError, match="give each one once"):
        CharTokenizer(special_tokens=["<BOS>", "<BOS>"])
    with pytest.raises(ValueError, match="distinct names"):
        CharTokenizer(special_tokens=[""])


@given(text=texts, special=st.sampled_from([None, ["<BOS>"], ["<UNK>", "<PAD>"]]), limit=st.sampled_from([None, 5]))
def test_a_saved_tokenizer_loads_as_the_same_one(
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


def test_the_protocol_is_what_a_char_tokenizer_offers() -> None:
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
    "cut": json.dumps(GOOD)[:60],
    "binary": b"\x89PNG\xff",
    "another program's": '{"model": {"vocab": {}}}',
    "a list": "[1, 2]",
    "endlessly nested": "[" * 100_000,
    "a later version": json.dumps(GOOD | {"version": 2}),
    "no characters": json.dumps(without("characters")),
    "characters empty": json.dumps(GOOD | {"characters": []}),
    "characters repeated": json.dumps(GOOD | {"characters": ["a", "a"]}),
    "a character too long": json.dumps(GOOD | {"characters": ["a", "bc"]}),
    "a number for a character": json.dumps(GOOD | {"characters": [97]}),
    "special tokens of no kind": json.dumps(GOOD | {"special_tokens": 3}),
    "vocab_size of no kind": json.dumps(GOOD | {"vocab_size": "many"}),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_or_foreign_file_is_refused_by_name_with_the_mend(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tokenizer.json"
    content = BROKEN[damage]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for load in (CharTokenizer.load, load_tokenizer):
        with pytest.raises(InputError, match="restore it from a copy, or train again") as caught:
            load(path)
        assert str(path) in str(caught.value)


def test_the_file_the_broken_ones_were_made_from_does_load(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD), encoding="utf-8")
    assert CharTokenizer.load(tmp_path / "tokenizer.json").decode([2, 3]) == "ab"


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no tokenizer file"):
        load_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_a_later_kind_is_told_from_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(GOOD | {"kind": "morse"}), encoding="utf-8")
    with pytest.raises(InputError, match="kind 'morse', and this version knows bpe, char: upgrade tinytorch"):
        load_tokenizer(path)
    with pytest.raises(InputError, match="of kind 'morse', not 'char'"):
        CharTokenizer.load(path)
