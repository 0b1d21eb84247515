"""Byte-pair encoding: decoding reproduces every text, with a trained vocabulary and with GPT-2's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings, strategies as st

import tinytorch as tt
from tinytorch.cli import main
from tinytorch.generation import stream
from tinytorch.io.errors import InputError
from tinytorch.models import TinyGPT
from tinytorch.text import BPETokenizer, load_tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")

TEXT = "the quick brown fox jumps over the lazy dog.\n\n  And the dog, the lazy dog, sleeps on the mat - naïvely.\n" * 20


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train(TEXT, 300)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_decoding_reproduces_any_text(tokenizer: BPETokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_training_learns_merges_that_shorten_the_text(tokenizer: BPETokenizer) -> None:
    assert tokenizer.get_vocab_size() == 300
    ids = tokenizer.encode_array(TEXT)
    assert len(ids) < 0.55 * len(TEXT)
    assert (ids.dtype, ids.max() < 300) == (numpy.int64, True)
    assert tokenizer.unknown_characters("żółw 🐢") == []


def test_load_tokenizer_reads_a_saved_bpe_tokenizer(tmp_path: Path, tokenizer: BPETokenizer) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert isinstance(again, BPETokenizer)
    assert again.encode(TEXT) == tokenizer.encode(TEXT)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"format": "tinytorch-tokenizer", "version": 1, "kind": "bpe"}), encoding="utf-8")
    with pytest.raises(InputError, match="its fields are invalid"):
        load_tokenizer(tmp_path / "tokenizer.json")


@pytest.fixture
def gpt2(tmp_path: Path, tokenizer: BPETokenizer) -> Path:
    """A GPT-2 directory: a tokenizer with a special token, and a model with the same vocabulary size."""
    engine = tokenizers.Tokenizer.from_str(tokenizer._engine.to_str())
    engine.add_special_tokens(["<|endoftext|>"])
    engine.save(str(tmp_path / "tokenizer.json"))
    with tt.use_backend("numpy"):
        tt.seed(0)
        TinyGPT(301, d_model=16, num_heads=2, num_layers=1, max_length=32, positional="learned", tie_weights=True).save_pretrained(tmp_path)
    return tmp_path


def test_from_gpt2_reads_both_file_formats(gpt2: Path, tokenizer: BPETokenizer) -> None:
    whole = BPETokenizer.from_gpt2(gpt2)
    assert whole.encode(TEXT) == tokenizer.encode(TEXT)
    content = json.loads((gpt2 / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (gpt2 / "tokenizer.json").unlink()
    (gpt2 / "vocab.json").write_text(json.dumps(content["vocab"]), encoding="utf-8")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in content["merges"]]
    (gpt2 / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    assert BPETokenizer.from_gpt2(gpt2).encode(TEXT) == tokenizer.encode(TEXT)
    (gpt2 / "vocab.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be used"):
        BPETokenizer.from_gpt2(gpt2)
    (gpt2 / "vocab.json").unlink()
    with pytest.raises(InputError, match=r"it needs tokenizer\.json, or vocab\.json and merges\.txt"):
        BPETokenizer.from_gpt2(gpt2)


def test_the_name_of_a_special_token_is_encoded_like_other_text(gpt2: Path) -> None:
    tokenizer = BPETokenizer.from_gpt2(gpt2)
    assert list(tokenizer.special_ids) == [300]
    ids = tokenizer.encode("a<|endoftext|>b")
    assert 300 not in ids
    assert tokenizer.decode(ids) == "a<|endoftext|>b"
    assert tokenizer.decode([300]) == ""
    assert tokenizer.decode([300], skip_special_tokens=False) == "<|endoftext|>"


def test_the_end_of_text_token_is_special_in_the_older_file_format(tmp_path: Path, tokenizer: BPETokenizer) -> None:
    content = json.loads(tokenizer._engine.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps({**content["vocab"], "<|endoftext|>": 300}), encoding="utf-8")
    merges = [" ".join(pair) for pair in content["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    older = BPETokenizer.from_gpt2(tmp_path)
    assert (older.get_vocab_size(), list(older.special_ids)) == (301, [300])
    assert older.encode(TEXT) == tokenizer.encode(TEXT)


def test_a_tokenizer_that_changes_texts_raises(tmp_path: Path, tokenizer: BPETokenizer) -> None:
    engine = tokenizers.Tokenizer.from_str(tokenizer._engine.to_str())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    engine.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="does not decode to the text that was encoded"):
        BPETokenizer.from_gpt2(tmp_path)


def test_encode_array_in_parts_returns_the_same_tokens(tokenizer: BPETokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tokenizer.encode(TEXT)
    monkeypatch.setattr("tinytorch.text.bpe._PART", 50)
    assert tokenizer.encode_array(TEXT).tolist() == whole


def test_training_on_the_parts_of_a_text_gives_the_same_tokenizer(tokenizer: BPETokenizer) -> None:
    lines = TEXT.splitlines(keepends=True)
    assert BPETokenizer.train(iter(lines), 300).to_json() == tokenizer.to_json()


def test_half_of_a_surrogate_pair_raises(tokenizer: BPETokenizer) -> None:
    with pytest.raises(InputError, match="half of a surrogate pair"):
        tokenizer.encode("a\ud800")


def test_invalid_arguments_raise(tokenizer: BPETokenizer) -> None:
    with pytest.raises(InputError, match="`vocab_size` must be greater than 256, the number of byte tokens of a BPE vocabulary, got 256"):
        BPETokenizer.train(TEXT, 256)
    with pytest.raises(InputError, match="there is no text to train a tokenizer on"):
        BPETokenizer.train("", 300)
    with pytest.raises(InputError, match="there is no text to encode"):
        tokenizer.encode("")
    for ids in ([300], [-1]):
        with pytest.raises(ValueError, match="is outside the vocabulary of 300 tokens"):
            tokenizer.decode(ids)


def test_streaming_never_yields_half_a_character(tokenizer: BPETokenizer) -> None:
    with tt.use_backend("numpy"):
        tt.seed(0)
        model = TinyGPT(300, d_model=16, num_heads=2, num_layers=1, max_length=64)
        parts = list(stream(model, "żółw", 60, temperature=2.0, seed=1, tokenizer=tokenizer))
        ids = model.generate(tokenizer.encode("żółw"), 60, temperature=2.0, seed=1)
    assert "".join(parts) == tokenizer.decode(ids).removesuffix("\ufffd")


# ---- the command ----


def test_a_run_with_a_bpe_tokenizer_trains_resumes_and_generates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, run = tmp_path / "text.txt", str(tmp_path / "run")
    text.write_text(TEXT * 3, encoding="utf-8")
    small = ["--d-model", "16", "--num-heads", "2", "--num-layers", "1", "--block-size", "16", "--batch-size", "4", "--eval-every", "4"]
    options = ["--tokenizer", "bpe", "--vocab-size", "280", "--steps", "4", "--decay-steps", "8", *small]
    assert main(["train", str(text), "--out", run, *options]) == 0
    assert main(["train", "--resume", "--out", run, "--steps", "6"]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["model"]["vocab_size"] == 280
    capsys.readouterr()
    assert main(["generate", run, "--prompt", "the żółw", "--length", "20", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("the żółw")


def test_the_command_generates_from_a_gpt2_directory(gpt2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(gpt2), "--prompt", "the quick", "--length", "8", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.startswith("the quick")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokenizer", "word"], "--tokenizer must be char, bpe or the directory of a model, got 'word'"),
        (["--vocab-size", "300"], "--vocab-size requires --tokenizer bpe"),
        (["--tokenizer", "bpe", "--vocab-size", "9"], "--vocab-size must be greater than 256"),
        (["--resume", "--tokenizer", "bpe"], "a resumed run keeps its tokenizer"),
    ],
)
def test_invalid_options_exit_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    assert main(["train", str(text), "--out", str(tmp_path / "run"), *options]) == 2
    assert message in capsys.readouterr().err
