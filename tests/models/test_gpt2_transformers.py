"""GPT-2 directories: compatibility with `transformers` in both directions. Weights are random; nothing is downloaded."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch.backend import Backend
from tinytorch.models import TinyGPT
from tinytorch.text import BPETokenizer

transformers = pytest.importorskip("transformers", reason="these tests compare with transformers, which is not installed")
torch = pytest.importorskip("torch", reason="transformers needs PyTorch, which is not installed")

TINY = {"vocab_size": 50, "n_embd": 12, "n_head": 2, "n_layer": 2, "n_positions": 16}

#: Settings that differ from those of GPT-2.
UNUSUAL = {
    "odd head width": {"n_embd": 15, "n_head": 3},
    "n_inner": {"n_inner": 20},
    "exact gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "epsilon": {"layer_norm_epsilon": 1e-2},
    "scores scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
    "scores not scaled": {"scale_attn_weights": False},
    "untied": {"tie_word_embeddings": False},
    "all at once": {"n_embd": 15, "n_head": 3, "n_inner": 20, "activation_function": "gelu", "scale_attn_by_inverse_layer_idx": True},
}

IDS = numpy.random.default_rng(0).integers(0, 50, (2, 9))


def reference(**settings: Any) -> Any:
    """A GPT-2 of transformers in evaluation mode, with weights that are large enough to show differences."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**TINY, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def logits_of(model: Any) -> Any:
    with torch.no_grad():
        return model(torch.from_numpy(IDS)).logits.numpy()


@pytest.mark.parametrize("settings", [{}, *UNUSUAL.values()], ids=["as GPT-2", *UNUSUAL])
def test_logits_match_transformers(tmp_path: Path, backend: Backend, settings: dict[str, Any]) -> None:
    theirs = reference(**settings)
    theirs.save_pretrained(tmp_path)
    ours = TinyGPT.from_pretrained(tmp_path)
    assert not ours.training
    numpy.testing.assert_allclose(host(ours(IDS)), logits_of(theirs), atol=2e-4)


def test_greedy_tokens_match_transformers(tmp_path: Path) -> None:
    theirs = reference(n_positions=96)
    theirs.save_pretrained(tmp_path)
    start = torch.from_numpy(IDS[:1])
    settings = {"max_new_tokens": 64, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    expected = theirs.generate(start, attention_mask=torch.ones_like(start), **settings)[0, start.shape[1] :].tolist()
    with tt.use_backend("numpy"):
        assert TinyGPT.from_pretrained(tmp_path).generate(IDS[0], 64, temperature=0.0) == expected


def test_weights_in_several_files_with_an_index_are_loaded(tmp_path: Path) -> None:
    theirs = reference()
    theirs.save_pretrained(tmp_path, max_shard_size="5KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    with tt.use_backend("numpy"):
        numpy.testing.assert_allclose(host(TinyGPT.from_pretrained(tmp_path)(IDS)), logits_of(theirs), atol=2e-4)


@pytest.mark.parametrize("settings", [{"positional": "learned", "tie_weights": True}, {}, {"activation": "relu", "d_ff": 20}])
def test_transformers_loads_our_files_without_warnings(tmp_path: Path, settings: dict[str, Any]) -> None:
    with tt.use_backend("numpy"):
        tt.seed(0)
        ours = TinyGPT(50, d_model=12, num_heads=2, num_layers=2, max_length=16, **settings).eval()
        ours.save_pretrained(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            theirs, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(report.values())
        numpy.testing.assert_allclose(host(ours(IDS)), logits_of(theirs.eval()), atol=2e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_dtypes_are_loaded(tmp_path: Path, dtype: str) -> None:
    theirs = reference(scale_attn_by_inverse_layer_idx=True).to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path)
    with tt.use_backend("numpy"):
        numpy.testing.assert_allclose(host(TinyGPT.from_pretrained(tmp_path)(IDS)), logits_of(theirs.float()), atol=2e-4)


def test_transformers_loads_our_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    text = "the quick brown fox jumps over the lazy dog.\n  And naïvely sleeps 🐢.\n" * 20
    ours = BPETokenizer.train(text, 300)
    ours.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text)["input_ids"] == ours.encode(text)
    assert theirs.decode(ours.encode(text)) == text
    theirs.save_pretrained(tmp_path / "again")
    assert BPETokenizer.from_gpt2(tmp_path / "again").encode(text) == ours.encode(text)


# ---- tokenizers ----

WORDS = "the quick brown fox jumps over the lazy dog.\n  And naïvely sleeps 🐢.\n" * 20


def older_tokenizers(directory: Path, **files: Any) -> tuple[Any, BPETokenizer]:
    """Return transformers' tokenizer and ours for a GPT-2 directory with ``vocab.json``, ``merges.txt`` and ``files``."""
    model = json.loads(BPETokenizer.train(WORDS, 300)._engine.to_str())["model"]
    vocab = {**model["vocab"], "<|endoftext|>": len(model["vocab"])}
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    (directory / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    reference().config.save_pretrained(directory)
    for name, content in {"vocab": vocab, **files}.items():
        (directory / f"{name}.json").write_text(json.dumps(content(vocab) if callable(content) else content), encoding="utf-8")
    return transformers.AutoTokenizer.from_pretrained(directory), BPETokenizer.from_gpt2(directory)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"added_tokens": {"<x>": 301, "<y>": 302}},
        {"added_tokens": {"<y>": 302, "<x>": 301}, "special_tokens_map": {"pad_token": "<x>"}},
        {"added_tokens": {"<x>": 301}, "tokenizer_config": {"pad_token": "<x>"}},
        {"tokenizer_config": {"added_tokens_decoder": {"301": {"content": "<x>", "lstrip": True, "special": False}}}},
        {"tokenizer_config": {"added_tokens_decoder": {"301": {"content": "<x>", "special": True}}}, "added_tokens": {"<y>": 302}},
        {"vocab": lambda vocab: {**vocab, "<|endoftext|>": 310}},
    ],
    ids=["none", "added", "added and special map", "config pad token", "config decoder", "config special", "vocabulary with gaps"],
)
def test_older_tokenizer_files_are_loaded_like_transformers(tmp_path: Path, files: dict[str, Any]) -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    theirs, ours = older_tokenizers(tmp_path, **files)
    special = {i for i, token in theirs.added_tokens_decoder.items() if token.special}
    assert special == {i for i in ours.special_ids if i in theirs.added_tokens_decoder}
    assert ours.get_vocab_size() == max(theirs.get_vocab().values()) + 1
    text = "the <x> dog<y>fox <|endoftext|> a"
    ids = theirs(text, split_special_tokens=True)["input_ids"]  # we encode special tokens in a text as plain text
    assert ours.encode(text) == ids
    for skip in (True, False):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
    ours.save_pretrained(tmp_path / "again")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again(text, split_special_tokens=True)["input_ids"] == ids


def test_truncation_and_padding_saved_by_transformers_are_ignored(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    ours = BPETokenizer.train(WORDS, 300)
    ours.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, pad_token="<pad>")
    theirs([WORDS, "a"], truncation=True, max_length=64, padding=True)
    theirs.save_pretrained(tmp_path / "truncated")
    assert json.loads((tmp_path / "truncated" / "tokenizer.json").read_text(encoding="utf-8"))["truncation"]["max_length"] == 64
    again = BPETokenizer.from_gpt2(tmp_path / "truncated")
    assert again.encode(WORDS) == ours.encode(WORDS)
    again.save_pretrained(tmp_path / "again")
    for name in ("truncation", "padding"):
        kept, before = (
            json.loads((tmp_path / folder / "tokenizer.json").read_text(encoding="utf-8"))[name] for folder in ("again", "truncated")
        )
        assert kept == before
